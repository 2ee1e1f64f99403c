"""Which jobs a worker pops from RQ's queues, and how it records a chat that has ended already."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.exceptions import DequeueTimeout
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from tests.support.api_support import LogWriter
from tests.support.chats import sequence
from wire import keys
from wire.messages import Delta, Failed, Finished
from worker import tasks
from worker.errors import WorkerError
from worker.jobs.rq_worker.bookkeeping import Ending, Outcome, Run
from worker.jobs.rq_worker.chat_worker import ChatWorker
from worker.jobs.rq_worker.meta import NOT_AGAIN, RqMeta, meta_of


@pytest.fixture
def worker(redis: Redis, queue: Queue) -> ChatWorker:
    return ChatWorker([queue], name="a-worker", connection=redis, serializer=JSONSerializer)


def test_a_job_that_comes_while_rq_is_suspended_goes_back_to_the_front(
    redis: Redis, queue: Queue, worker: ChatWorker
) -> None:
    """The worker was waiting for it when RQ was suspended."""
    first, second = queue.enqueue("worker.tasks.chat"), queue.enqueue("worker.tasks.chat")
    suspend(redis)
    with pytest.raises(DequeueTimeout):
        worker.pop_job(queue, 1)
    assert queue.job_ids == [first.id, second.id]
    assert not redis.exists(queue.intermediate_queue_key)
    resume(redis)
    popped = worker.pop_job(queue, 1)
    assert popped is not None
    assert popped[0].id == first.id


def test_resuming_lets_a_waiting_worker_go_on_at_once(redis: Redis, worker: ChatWorker) -> None:
    suspend(redis)
    rounds: list[str] = []

    def meanwhile() -> None:
        rounds.append(worker.get_state())
        if len(rounds) == 2:
            resume(redis)

    worker.wait_while_suspended(meanwhile)
    assert rounds == ["suspended", "suspended"]
    assert worker.get_state() != "suspended"


def test_a_job_that_can_not_be_read_is_failed_and_popped_by_nobody_again(
    redis: Redis, queue: Queue, worker: ChatWorker
) -> None:
    job_id = "f" * 32
    redis.hset(f"rq:job:{job_id}", mapping={"data": b"[]", "status": "nonsense"})
    redis.rpush(queue.key, job_id)
    with pytest.raises(DequeueTimeout):
        worker.pop_job(queue, 1)
    assert redis.hget(f"rq:job:{job_id}", "status") == b"failed"
    assert redis.ttl(f"rq:job:{job_id}") > 0
    assert not redis.exists(queue.intermediate_queue_key, queue.key)


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (Finished("stop"), Outcome.FINISHED),
        (Finished("cancelled"), Outcome.STOPPED),
        (Failed("engine_failed", "It broke."), Outcome.FAILED),
    ],
)
def test_a_chat_that_is_queued_again_after_its_end_is_entered_as_it_ended(
    redis: Redis, end: Finished | Failed, outcome: Outcome
) -> None:
    job_id = "a" * 32
    redis.hset(keys.job(job_id), mapping={"owner": "everyone", "kind": "chat", "state": "queued"})
    LogWriter(redis, job_id).write(Delta("x", (1,)), end)
    entered, reason = RqMeta(redis, "rq:queue:chat").ended_as(job_id)
    assert entered is outcome
    assert reason == (f"engine_failed: It broke. {NOT_AGAIN}" if outcome is Outcome.FAILED else "")


def test_a_chat_whose_text_has_expired_is_not_run_again_either(redis: Redis) -> None:
    assert RqMeta(redis, "rq:queue:chat").ended_as("a" * 32) == (Outcome.FAILED, NOT_AGAIN)


def test_jobs_that_run_and_wait_tell_how_they_get_on_and_deleted_ones_stay_deleted(
    redis: Redis, queue: Queue
) -> None:
    waiting = [queue.enqueue("worker.tasks.chat", description="a [b] for ann") for _ in range(2)]
    running, deleted = sequence(job_id="running"), sequence(job_id="deleted")
    before = {"data": b"x", "status": "started", "description": "m for bob [queued, place 1]"}
    redis.hset("rq:job:running", mapping=before)
    for _ in range(2):
        RqMeta(redis, queue.key).publish([running, deleted])
    assert redis.hget("rq:job:running", "description") == b"m for bob [running, 0 tokens]"
    assert [redis.hget(job.key, "description") for job in waiting] == [
        b"a [b] for ann [queued, place 1]",
        b"a [b] for ann [queued, place 2]",
    ]
    assert [job.get_meta() for job in waiting] == [
        {"state": "queued", "place": 1},
        {"state": "queued", "place": 2},
    ]
    meta: Any = Job("running", connection=redis, serializer=JSONSerializer).get_meta()
    assert meta == meta_of(running) == {"state": "running", "tokens": 0, "tokens_per_second": 0.0}
    assert not redis.exists("rq:job:deleted")


@pytest.mark.parametrize(
    "data", [b"{}", b"\x80\x04.", b'["os.system", null, ["true"], {}]', b'[["x"], 1, 2, 3]']
)
def test_a_job_of_another_kind_is_refused_and_closed(
    redis: Redis, queue: Queue, worker: ChatWorker, data: bytes
) -> None:
    redis.hset("rq:job:odd", mapping={"data": data, "status": "queued", "origin": "chat"})
    job = Job.fetch("odd", connection=redis, serializer=JSONSerializer)
    start = worker.record_start(job, queue, lambda *_: None)
    with pytest.raises(WorkerError):
        tasks.read(job)
    worker.record_end(
        Run(job, queue, start.execution, attempt=1), Ending(Outcome.FAILED, "No such task.")
    )
    assert job.get_status(refresh=True) == "failed"
    assert job.id in queue.failed_job_registry.get_job_ids()
    assert redis.zcard(queue.started_job_registry.key) == 0


def test_a_job_whose_arguments_are_another_jobs_is_refused(queue: Queue) -> None:
    other = {"job_id": "yours", "batch_id": "b", "owner": "o", "number": 0}
    job = queue.enqueue_call(keys.BATCH_TASK, kwargs={"job": other}, job_id="mine")
    with pytest.raises(WorkerError, match="another job's"):
        tasks.read(job)


@pytest.mark.parametrize("outcome", [Outcome.FINISHED, Outcome.FAILED, Outcome.STOPPED])
def test_what_a_job_asks_rq_for_at_its_end_is_not_done(
    redis: Redis,
    queue: Queue,
    worker: ChatWorker,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Outcome,
) -> None:
    """Callbacks are any dotted name, webhooks any address: whoever can write to Redis can fill
    them in."""
    done: list[str] = []
    monkeypatch.setattr("rq.job.import_attribute", lambda name: done.append(name))
    monkeypatch.setattr("rq.webhook.urlopen", lambda *_, **__: done.append("webhook"))
    job = queue.enqueue("worker.tasks.chat")
    hooks = json.dumps(
        [{"url": "http://127.0.0.1:1/", "job_status": status} for status in ("finished", "failed")]
    )
    named = {f"{kind}_callback_name": "hostile.run" for kind in ("success", "failure", "stopped")}
    redis.hset(job.key, mapping=named | {"webhooks": hooks})
    job.refresh()
    start = worker.record_start(job, queue, lambda *_: None)
    worker.record_end(Run(job, queue, start.execution, attempt=1), Ending(outcome, "why"))
    assert done == []
    assert not redis.hexists(job.key, "webhooks")
