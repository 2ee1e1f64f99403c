"""RQ's private names that the worker and wire.rq_jobs rely on: a new RQ that moves one fails
here first."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import fakeredis
import pytest
from rq import Queue, Retry, SimpleWorker
from rq.executions import Execution, ExecutionRegistry
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job, JobStatus
from rq.registry import BaseRegistry, CanceledJobRegistry, FailedJobRegistry, FinishedJobRegistry
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend
from rq.utils import now
from rq.worker.base import BaseWorker

from wire import keys, rq_jobs
from wire.rq_jobs import Closing
from worker import tasks
from worker.jobs.rq_worker.bookkeeping import NoDeathPenalty
from worker.jobs.rq_worker.chat_worker import ChatWorker


def test_the_pinned_version_is_installed() -> None:
    assert version("rq").startswith("3.0.")


@pytest.mark.parametrize(
    "name",
    [
        "_pubsub_exception_handler",
        "_shutdown",
        "bootstrap",
        "clean_registries",
        "check_for_suspension",
        "dequeue_job_and_maintain_ttl",
        "execute_job",
        "get_heartbeat_ttl",
        "handle_payload",
        "heartbeat",
        "increment_failed_job_count",
        "increment_successful_job_count",
        "increment_total_working_time",
        "maintain_heartbeats",
        "register_birth",
        "request_force_stop",
        "set_state",
        "teardown",
    ],
)
def test_the_base_worker_has_what_is_overridden_or_called(name: str) -> None:
    assert callable(getattr(BaseWorker, name))


def test_a_worker_needs_no_arguments_of_its_own() -> None:
    """RQ builds workers itself, as ``cls([], name, …)``, to read other workers' records."""
    worker = ChatWorker([], "some-name", connection=fakeredis.FakeRedis(), prepare_for_work=False)
    for attribute in ("_stop_requested", "_state", "executions", "redis_workers_keys"):
        assert hasattr(worker, attribute)


def test_a_job_is_popped_by_a_move_that_a_crash_cannot_lose() -> None:
    redis = fakeredis.FakeRedis()
    queue = Queue("chat", connection=redis, serializer=JSONSerializer)
    assert queue.intermediate_queue_key == IntermediateQueue.get_intermediate_queue_key(queue.key)
    job = queue.enqueue("worker.tasks.chat")
    assert Queue.lmove(redis, queue.key, 1) == (queue.key, job.id.encode())
    assert redis.lrange(queue.intermediate_queue_key, 0, -1) == [job.id.encode()]


def test_executions_can_be_read_and_deleted_by_their_registry_entry() -> None:
    execution = Execution.from_composite_key("job:execution", fakeredis.FakeRedis())
    assert (execution.job_id, execution.id) == ("job", "execution")
    assert {"job", "pipeline"} <= set(inspect.signature(Execution.delete).parameters)


def test_a_job_whose_start_was_tried_twice_is_recorded_once() -> None:
    """The first try's answer was lost with its connection, but not what it wrote."""
    redis = fakeredis.FakeRedis()
    chats = Queue("chat", connection=redis, serializer=JSONSerializer)
    worker = ChatWorker([chats], name="a-worker", connection=redis, serializer=JSONSerializer)
    job = chats.enqueue("worker.tasks.chat")
    redis.rpush(chats.intermediate_queue_key, job.id)
    worker.record_start(job, chats, lambda *_: None)
    start = worker.record_start(job, chats, lambda job_id, pipeline: pipeline.echo(job_id))
    second = start.execution
    assert (start.replies, start.withdrawn) == ([job.id.encode()], False)
    assert [execution.id for execution in job.get_executions()] == [second.id]
    assert redis.zrange(job.started_job_registry.key, 0, -1) == [second.composite_key.encode()]
    assert list(worker.executions) == [second.id]
    assert job.get_status(refresh=True) == "started"
    assert redis.hget(job.key, "worker_name") == b"a-worker"
    assert not redis.exists(chats.intermediate_queue_key)


def test_a_start_is_noted_as_rq_notes_it() -> None:
    """What RQ's own two steps leave in Redis, but for ids and times, is what the one here
    leaves."""

    def noted(ours: bool) -> dict[str, object]:
        redis = fakeredis.FakeRedis()
        chats = Queue("chat", connection=redis, serializer=JSONSerializer)
        worker = ChatWorker([chats], name="a-worker", connection=redis, serializer=JSONSerializer)
        job = chats.enqueue("worker.tasks.chat", job_id="job")
        redis.lmove(chats.key, chats.intermediate_queue_key, "LEFT", "RIGHT")
        if ours:
            execution = worker.record_start(job, chats, lambda *_: None).execution
        else:
            execution = worker.prepare_execution(job)
            worker.prepare_job_execution(job, remove_from_intermediate_queue=True)
        names = {name.decode().replace(execution.id, "EXECUTION"): name for name in redis.keys("*")}
        fields = {
            plain: sorted(redis.hkeys(name))
            for plain, name in names.items()
            if redis.type(name) == b"hash"
        }
        lasting = {plain: redis.ttl(name) > 0 for plain, name in names.items()}
        return {
            "names": sorted(names),
            "fields": fields,
            "lasting": lasting,
            "status": job.get_status(refresh=True),
        }

    assert noted(ours=True) == noted(ours=False)


def test_a_job_that_was_cancelled_or_deleted_after_its_pop_is_known_as_withdrawn() -> None:
    redis = fakeredis.FakeRedis()
    chats = Queue("chat", connection=redis, serializer=JSONSerializer)
    worker = ChatWorker([chats], name="a-worker", connection=redis, serializer=JSONSerializer)
    cancelled, deleted = chats.enqueue("worker.tasks.chat"), chats.enqueue("worker.tasks.chat")
    cancelled.cancel()
    deleted.delete()
    assert worker.record_start(cancelled, chats, lambda *_: None).withdrawn
    assert worker.record_start(deleted, chats, lambda *_: None).withdrawn


@pytest.mark.parametrize(
    ("status", "registry"),
    [
        (JobStatus.FINISHED, FinishedJobRegistry),
        (JobStatus.FAILED, FailedJobRegistry),
        (JobStatus.STOPPED, FailedJobRegistry),
        (JobStatus.CANCELED, CanceledJobRegistry),
    ],
)
def test_a_closed_job_stands_where_rqs_tools_look_for_it(
    status: JobStatus, registry: type[BaseRegistry]
) -> None:
    redis = fakeredis.FakeRedis()
    chats = Queue("chat", connection=redis, serializer=JSONSerializer)
    job = chats.enqueue("worker.tasks.chat", kwargs={"job": "a prompt"}, description="what it is")
    closing = Closing(status, 60, "why" if status == JobStatus.FAILED else "", {"tokens": 3})
    with redis.pipeline() as pipe:
        rq_jobs.close(pipe, job.id, "chat", "worker.tasks.chat", closing)
        pipe.execute()
    shown = Job.fetch(job.id, connection=redis, serializer=JSONSerializer)
    assert (shown.get_status(), shown.description, shown.meta) == (
        status,
        "what it is",
        {"tokens": 3},
    )
    assert (shown.func_name, shown.kwargs) == ("worker.tasks.chat", {})
    assert registry("chat", redis, serializer=JSONSerializer).get_job_ids() == [job.id]
    assert 0 < redis.ttl(job.key) <= 60
    with pytest.warns(DeprecationWarning, match="exc_info"):
        assert (shown.exc_info or "") == closing.reason  # what its pages show


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({"state": "ended", "finish_reason": "stop", "tokens": 7}, "ended: stop, 7 tokens"),
        ({"state": "failed", "code": "bad_prompt", "tokens": 0}, "failed: bad_prompt, 0 tokens"),
        (
            {"state": "running", "tokens": 120, "tokens_per_second": 48.2},
            "running, 120 tokens, 48.2 tokens/s",
        ),
    ],
)
def test_a_closed_jobs_description_says_how_it_ended(meta: dict[str, Any], words: str) -> None:
    redis = fakeredis.FakeRedis()
    chats = Queue("chat", connection=redis, serializer=JSONSerializer)
    job = chats.enqueue("worker.tasks.chat", description="m for ann [running, 3 tokens]")
    with redis.pipeline() as pipe:
        closing = Closing(JobStatus.FINISHED, 60, meta=meta)
        rq_jobs.close(pipe, job.id, "chat", "worker.tasks.chat", closing)
        pipe.execute()
    shown = Job.fetch(job.id, connection=redis, serializer=JSONSerializer)
    assert (shown.description, shown.meta) == (f"m for ann [{words}]", meta)


def test_a_job_that_is_not_kept_leaves_nothing() -> None:
    redis = fakeredis.FakeRedis()
    chats = Queue("chat", connection=redis, serializer=JSONSerializer)
    job = chats.enqueue("worker.tasks.chat")
    redis.lrem(chats.key, 1, job.id)
    with redis.pipeline() as pipe:
        rq_jobs.close(pipe, job.id, "chat", "", Closing(JobStatus.FAILED, 0, "why"))
        pipe.execute()
    assert redis.keys("*") == [b"rq:queues"]


def test_suspension_and_workers_are_where_rq_keeps_them() -> None:
    redis = fakeredis.FakeRedis()
    suspend(redis)
    assert redis.exists(rq_jobs.SUSPENDED)
    resume(redis)
    assert not redis.exists(rq_jobs.SUSPENDED)
    assert BaseWorker.redis_worker_namespace_prefix == "rq:worker:"
    assert rq_jobs.popped_key("chat") == Queue("chat", connection=redis).intermediate_queue_key
    assert rq_jobs.rq_job_key("x") == Job.key_for("x")
    assert rq_jobs.executions_key("x") == ExecutionRegistry("x", redis).key


def test_a_task_that_answers_with_a_retry_goes_back_to_the_front_and_burns_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a worker of RQ's own does with a chat that it has popped."""
    monkeypatch.setattr(tasks, "PAUSE_S", 0)
    redis = fakeredis.FakeRedis()
    chats = Queue("chat", connection=redis, serializer=JSONSerializer)
    first = chats.enqueue_call(keys.CHAT_TASK, kwargs={"job": {"x": 1}}, retry=Retry(max=100))
    second = chats.enqueue_call(keys.CHAT_TASK, kwargs={"job": {"x": 2}}, retry=Retry(max=100))
    plain = SimpleWorker(
        [chats], connection=redis, serializer=JSONSerializer, prepare_for_work=False
    )
    plain.death_penalty_class = NoDeathPenalty
    plain.last_heartbeat = now()
    redis.lpop(chats.key)
    for _ in range(3):
        plain.perform_job(first, chats, plain.prepare_execution(first))
        assert redis.lrange(chats.key, 0, -1) == [first.id.encode(), second.id.encode()]
        redis.lpop(chats.key)
    shown = Job.fetch(first.id, connection=redis, serializer=JSONSerializer)
    assert (shown.get_status(), shown.retries_left, shown.kwargs) == (
        "queued",
        100,
        {"job": {"x": 1}},
    )
    assert len(shown.started_job_registry) == 0
