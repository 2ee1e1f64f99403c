"""RQ's private names that worker.rq_worker and worker.recovery rely on: a new RQ that moves one fails here first."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import fakeredis
import pytest
from rq import Queue
from rq.executions import Execution
from rq.intermediate_queue import IntermediateQueue
from rq.serializers import JSONSerializer
from rq.worker.base import BaseWorker

from worker.rq_worker import ChatWorker


def test_the_pinned_version_is_installed() -> None:
    assert version("rq").startswith("3.0.")


@pytest.mark.parametrize(
    "name",
    [
        "_finalize_success",
        "_finalize_failure",
        "_shutdown",
        "bootstrap",
        "clean_registries",
        "cleanup_execution",
        "dequeue_job_and_maintain_ttl",
        "execute_job",
        "get_heartbeat_ttl",
        "handle_job_failure",
        "handle_payload",
        "heartbeat",
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
    for attribute in ("_stopped_job_id", "_stop_requested", "_ordered_queues", "executions", "redis_workers_keys"):
        assert hasattr(worker, attribute)


def test_a_single_queue_is_popped_by_a_move_that_a_crash_cannot_lose() -> None:
    source = inspect.getsource(Queue.dequeue_any)
    assert "len(queue_keys) == 1" in source
    assert "lmove" in source
    queue = Queue("chat", connection=fakeredis.FakeRedis(), serializer=JSONSerializer)
    assert queue.intermediate_queue_key == IntermediateQueue.get_intermediate_queue_key(queue.key)


def test_executions_can_be_read_and_deleted_by_their_registry_entry() -> None:
    execution = Execution.from_composite_key("job:execution", fakeredis.FakeRedis())
    assert (execution.job_id, execution.id) == ("job", "execution")
    assert {"job", "pipeline"} <= set(inspect.signature(Execution.delete).parameters)


def test_a_job_whose_start_was_tried_twice_stands_in_the_books_once() -> None:
    """The first try's answer was lost with its connection, but not what it wrote."""
    redis = fakeredis.FakeRedis()
    chats = Queue("chat", connection=redis, serializer=JSONSerializer)
    worker = ChatWorker([chats], name="a-worker", connection=redis, serializer=JSONSerializer)
    job = chats.enqueue("worker.tasks.chat")
    redis.rpush(chats.intermediate_queue_key, job.id)
    worker.note_start(job, chats, lambda *_: None)
    second, answers = worker.note_start(job, chats, lambda job_id, pipeline: pipeline.echo(job_id))
    assert answers == [job.id.encode()]
    assert [execution.id for execution in job.get_executions()] == [second.id]
    assert redis.zrange(job.started_job_registry.key, 0, -1) == [second.composite_key.encode()]
    assert list(worker.executions) == [second.id]
    assert job.get_status(refresh=True) == "started"
    assert redis.hget(job.key, "worker_name") == b"a-worker"
    assert not redis.exists(chats.intermediate_queue_key)


def test_a_start_is_noted_as_rq_notes_it() -> None:
    """What RQ's own two steps leave in Redis, but for ids and times, is what the one here leaves."""

    def noted(ours: bool) -> dict[str, object]:
        redis = fakeredis.FakeRedis()
        chats = Queue("chat", connection=redis, serializer=JSONSerializer)
        worker = ChatWorker([chats], name="a-worker", connection=redis, serializer=JSONSerializer)
        job = chats.enqueue("worker.tasks.chat", job_id="job")
        redis.lmove(chats.key, chats.intermediate_queue_key, "LEFT", "RIGHT")
        if ours:
            execution, _ = worker.note_start(job, chats, lambda *_: None)
        else:
            execution = worker.prepare_execution(job)
            worker.prepare_job_execution(job, remove_from_intermediate_queue=True)
        names = {name.decode().replace(execution.id, "EXECUTION"): name for name in redis.keys("*")}
        fields = {plain: sorted(redis.hkeys(name)) for plain, name in names.items() if redis.type(name) == b"hash"}
        lasting = {plain: redis.ttl(name) > 0 for plain, name in names.items()}
        return {"names": sorted(names), "fields": fields, "lasting": lasting, "status": job.get_status(refresh=True)}

    assert noted(ours=True) == noted(ours=False)
