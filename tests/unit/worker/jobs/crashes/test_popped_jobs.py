"""Jobs that were popped and never started."""

from __future__ import annotations

import pytest
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from tests.unit.worker.jobs.crashes.started_jobs import HERE, THERE, recovering, submitted, waiting
from wire import keys
from worker.jobs.crashes import popped_jobs
from worker.jobs.rq_worker.chat_worker import ChatWorker


def test_a_popped_job_is_put_back_at_once_only_by_a_worker_that_starts_alone(
    redis: Redis, queue: Queue
) -> None:
    job = submitted(redis, queue)
    redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    redis.sadd(keys.WORKERS, HERE, THERE)
    redis.set(keys.worker_status(THERE), "alive")
    assert recovering(redis, queue).run_at_start() == 0
    assert recovering(redis, queue, THERE).run_at_start() == 1
    assert waiting(redis, queue) == [job.id]


def test_a_job_that_another_thread_of_this_worker_has_just_popped_is_left_alone(
    redis: Redis, queue: Queue
) -> None:
    """Slices are popped by another thread than the one that looks for lost jobs: a slice that is
    put back would run twice at once."""
    job = submitted(redis, queue)
    recovery = recovering(redis, queue)
    assert recovery.run_at_start() == 0
    redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    for _ in range(2):
        assert recovery.run() == 0
    assert waiting(redis, queue) == []
    # After so long no thread has it.
    redis.expire(keys.popped(job.id), 2 * popped_jobs._GRACE_S - 1)
    assert recovery.run() == 1


def test_the_grace_of_a_popped_job_begins_anew_after_its_start(
    redis: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the start came between looking through the list and looking at the job."""
    job = submitted(redis, queue)
    recovery = recovering(redis, queue)
    worker = ChatWorker([queue], name=HERE, connection=redis, serializer=JSONSerializer)
    redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    assert recovery.run() == 0
    redis.expire(keys.popped(job.id), 1)
    running = {worker.record_start(job, queue, lambda *_: None).execution.composite_key}
    with monkeypatch.context() as patch:
        patch.setattr(redis, "lrange", lambda *_: [job.id.encode()])
        assert recovery.run(running) == 0
    assert not redis.exists(keys.popped(job.id))
    redis.rpush(queue.intermediate_queue_key, job.id)  # Popped once more, as after a crash.
    assert recovery.run(running) == 0


def test_a_popped_job_that_is_gone_is_not_put_back(redis: Redis, queue: Queue) -> None:
    job = submitted(redis, queue)
    redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    redis.delete(job.key)
    assert recovering(redis, queue).run() == 0
    assert waiting(redis, queue) == []
    assert not redis.exists(queue.intermediate_queue_key)
