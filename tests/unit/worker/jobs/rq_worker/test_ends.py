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


def test_records_of_a_job_are_renewed_while_it_runs_and_not_behind_its_end(
    redis: Redis, queue: Queue
) -> None:
    worker: Any = ChatWorker([queue], name="a-worker", connection=redis, serializer=JSONSerializer)
    worker.equip(Mock(), Mock(), Mock(), Settings())
    jobs = [queue.enqueue("worker.tasks.chat") for _ in range(2)]
    for job in jobs:
        worker._start(job, queue)
    runs = on, over = [worker._runs[job.id] for job in jobs]
    for run in runs:
        redis.hset(run.execution.key, "last_heartbeat", 0)
    worker.record_end(over, Ending(Outcome.FINISHED))  # Still among the runs: its slot isn't free.
    worker._beat()
    assert float(redis.hget(on.execution.key, "last_heartbeat")) > 0
    assert not redis.exists(over.execution.key)
