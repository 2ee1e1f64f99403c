"""A chat on its way from one worker to another, as RQ's records have it."""

from __future__ import annotations

import pytest
from redis import Redis
from rq import Queue
from rq.exceptions import DequeueTimeout
from rq.job import Job
from rq.serializers import JSONSerializer

from wire.routing.offers import Offer, mark
from worker.jobs.crashes.popped_jobs import PoppedJobs
from worker.jobs.rq_worker.bookkeeping import Run
from worker.jobs.rq_worker.chat_worker import ChatWorker
from worker.jobs.rq_worker.slots import Slots


@pytest.fixture
def one(redis: Redis, queue: Queue) -> ChatWorker:
    return ChatWorker([queue], name="one", connection=redis, serializer=JSONSerializer)


@pytest.fixture
def two(redis: Redis, queue: Queue) -> ChatWorker:
    return ChatWorker([queue], name="two", connection=redis, serializer=JSONSerializer)


def started(worker: ChatWorker, queue: Queue) -> Job:
    """A chat that a worker has taken up."""
    queue.enqueue("worker.tasks.chat")
    popped = worker.pop_job(queue, 1)
    assert popped is not None
    job = popped[0]
    worker._runs[job.id] = Run(
        job, queue, worker.record_start(job, queue, lambda *_: ()).execution, attempt=1
    )
    return job


def test_an_offered_chat_stays_among_the_popped_jobs_until_it_is_started(
    redis: Redis, queue: Queue, one: ChatWorker, two: ChatWorker
) -> None:
    job = started(one, queue)
    one.hand_over(Offer("two", job.id, 5), "prompt")
    assert (one.running, job.get_status(refresh=True)) == ([], "queued")
    assert redis.lrange(queue.intermediate_queue_key, 0, -1) == [job.id.encode()]
    assert redis.zcard(queue.started_job_registry.key) == len(queue) == 0
    assert redis.get(mark(job.id)) == b"prompt"
    taken, whence = two.pop_offer(queue, 1, lambda offer: offer != Offer("two", job.id, 5))
    assert (taken.id, whence) == (job.id, queue)
    two.record_start(taken, queue, lambda *_: ())
    assert not redis.exists(queue.intermediate_queue_key)


def test_a_late_offer_is_left_to_the_recovery(
    redis: Redis, queue: Queue, one: ChatWorker, two: ChatWorker
) -> None:
    job = started(one, queue)
    one.hand_over(Offer("two", job.id, 5), "model")
    with pytest.raises(DequeueTimeout):
        two.pop_offer(queue, 1, lambda _: True)
    assert PoppedJobs(redis).requeue(queue, orphaned=True) == 1
    assert queue.job_ids == [job.id]


def test_a_worker_that_has_become_full_puts_an_offer_back(
    queue: Queue, one: ChatWorker, two: ChatWorker
) -> None:
    started(two, queue)
    job = started(one, queue)
    one.hand_over(Offer("two", job.id, 5), "prompt")
    two._take_offer(*two.pop_offer(queue, 1, lambda _: False))
    assert queue.job_ids == [job.id]


def test_a_chat_that_has_ended_meanwhile_is_offered_to_nobody(
    redis: Redis, one: ChatWorker
) -> None:
    one.hand_over(Offer("two", "ended", 5), "prompt")
    assert redis.keys("mlxq:offer*") == []


def test_a_slot_is_taken_once() -> None:
    running: list[str] = []
    slots = Slots(2, lambda: len(running))
    assert slots.reserve("a")
    running.append("b")
    assert not slots.reserve("c")
    assert not slots.wait(0)
    slots.release("a")
    assert slots.wait(0)
    assert slots.reserve("c")
