"""Whose end a worker records when a job has come back to it."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from wire import keys
from wire.rq_jobs import started_key
from wire.settings import Settings
from worker.jobs.rq_worker.bookkeeping import Ending, Outcome
from worker.jobs.rq_worker.chat_worker import ChatWorker


def test_the_end_of_an_earlier_attempt_is_none_of_the_one_that_runs(
    redis: Redis, queue: Queue
) -> None:
    """Redis has lost the start of a chat: the worker is given it again, and learns only then that
    the first attempt's write is refused."""
    worker: Any = ChatWorker([queue], name="a-worker", connection=redis, serializer=JSONSerializer)
    worker.equip(Mock(), Mock(), Mock(), Settings())
    job = queue.enqueue("worker.tasks.chat")
    redis.hset(keys.job(job.id), "owner", "everyone")
    first, second = (worker._start(job, queue).attempt for _ in range(2))
    redis.delete(queue.key)  # Its worker has popped it.

    def told(outcome: Outcome, attempt: int) -> None:
        worker.ended(job.id, Ending(outcome, attempt=attempt))
        worker._ended.put(None)
        worker._record_ends()

    told(Outcome.LOST, first)
    assert worker.running == [job.id]
    assert redis.zcard(started_key(queue.name)) == 1
    told(Outcome.HANDED_BACK, second)
    assert worker.running == []
    assert queue.job_ids == [job.id]
