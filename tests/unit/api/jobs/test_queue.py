"""How jobs are written into Redis, bounded and stopped, and what the other routes answer from
there."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from starlette.testclient import TestClient

from api import errors
from api.errors import ApiError
from api.jobs.ids import new_job_id
from api.jobs.queue import JobQueue, Policy
from api.jobs.reaper import STOPPING_S
from api.registry import RegistryReader
from tests.support.api_support import (
    MODEL,
    QUEUE,
    FakeWorker,
    LogWriter,
    announce,
    chat_body,
    status,
)
from tests.support.fake_api import connections, fake_api
from wire import keys
from wire.keys import EVERYONE
from wire.log_entries import decode_rows
from wire.messages import ChatJob, ErrorCode, Failed, Finished, Message, ModelCommand, Sampling
from wire.rq_jobs import rq_job_key
from wire.settings import Settings
from wire.versions import FIRST, VERSION, TooNew

CHAT = "/api/engine/chat"
LIMIT = 2


@pytest.fixture
def client(redis: Redis) -> Iterator[TestClient]:
    app = fake_api(redis, Settings(queue_limit=LIMIT))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def jobs(redis: Redis) -> JobQueue:
    clients = connections(redis)
    return JobQueue(clients, RegistryReader(clients.waiting), 1000)


def a_chat(text: str = "the canary sings") -> ChatJob:
    return ChatJob(
        job_id=new_job_id(),
        owner=EVERYONE,
        model_id=MODEL.id,
        model_revision=MODEL.revision,
        messages=(Message(role="user", content=text),),
        sampling=Sampling(seed=1),
        submitted_ms=0,
    )


def submit(jobs: JobQueue, policy: Policy | None = None) -> str:
    chat = a_chat()
    jobs._submit_chat(chat, policy or Policy("cancel"))
    return chat.job_id


def text_of(value: Any) -> Any:
    return {name.decode(): kept.decode() for name, kept in value.items()}


def log_of(redis: Redis, job_id: str) -> list[Any]:
    rows: Any = redis.xrange(keys.log(job_id))
    return [entry.event for entry in decode_rows(rows)]


def test_a_chat_is_an_rq_job_that_any_dashboard_can_show(jobs: JobQueue, redis: Redis) -> None:
    job_id = submit(jobs)
    job = Job.fetch(job_id, connection=redis, serializer=JSONSerializer)
    described = "model-1 for everyone"
    assert (job.func_name, job.description, job.origin, job.timeout) == (
        keys.CHAT_TASK,
        described,
        "chat",
        -1,
    )
    assert (job.result_ttl, job.failure_ttl, job.retries_left) == (
        keys.RQ_LIFETIME_S,
        keys.RQ_LIFETIME_S,
        100,
    )
    assert job.get_status() == "queued"
    stored = ChatJob.model_validate(job.kwargs["job"])
    assert stored.job_id == job_id
    assert stored.submitted_ms > 0
    assert stored.messages[0].content == "the canary sings"


def test_what_is_remembered_of_a_chat_holds_no_prompt_and_expires(
    jobs: JobQueue, redis: Redis
) -> None:
    job_id = submit(jobs, Policy("cancel", frozenset({"include_usage"})))
    record = text_of(redis.hgetall(keys.job(job_id)))
    assert record.pop("submitted_ms").isdigit()
    assert record == {
        "owner": "everyone",
        "model_id": "model-1",
        "queue": "chat",
        "kind": "chat",
        "state": "queued",
        "on_disconnect": "cancel",
        "stream_options": "include_usage",
        "version": str(VERSION),
    }
    assert 0 < redis.ttl(keys.job(job_id)) <= keys.RECORD_LIFETIME_S
    assert redis.zrange(keys.live(EVERYONE), 0, -1) == [job_id.encode()]


@pytest.mark.parametrize(("policy", "watched"), [("cancel", 1), ("continue", 0)])
def test_only_chats_that_end_with_their_readers_are_watched(
    jobs: JobQueue, redis: Redis, policy: Any, watched: int
) -> None:
    submit(jobs, Policy(policy))
    assert redis.zcard(keys.ABANDONED_AFTER) == watched


def test_a_stopped_queued_chat_ends_at_once_and_never_runs(jobs: JobQueue, redis: Redis) -> None:
    job_id = submit(jobs)
    jobs._canceller.stop(job_id)
    assert redis.llen(QUEUE) == 0
    assert redis.exists(keys.cancel(job_id))
    [end] = log_of(redis, job_id)
    assert isinstance(end, Finished)
    assert end.finish_reason == "cancelled"
    assert redis.zcard(keys.live(EVERYONE)) == redis.zcard(keys.STOPPING) == 0
    assert Job.fetch(job_id, connection=redis, serializer=JSONSerializer).get_status() == "canceled"
    assert 0 < redis.ttl(rq_job_key(job_id)) <= keys.RQ_LIFETIME_S


def test_stopping_twice_changes_nothing(jobs: JobQueue, redis: Redis) -> None:
    job_id = submit(jobs)
    jobs._canceller.stop(job_id)
    before = log_of(redis, job_id)
    jobs._canceller.stop(job_id)
    assert log_of(redis, job_id) == before


def test_stopping_an_ended_chat_leaves_no_cancel_key(jobs: JobQueue, redis: Redis) -> None:
    job_id = submit(jobs)
    FakeWorker(redis).step()
    jobs._canceller.stop(job_id)
    assert not redis.exists(keys.cancel(job_id))
    assert log_of(redis, job_id)[-1] == Finished("stop")


def test_a_running_chat_is_left_to_its_worker(jobs: JobQueue, redis: Redis) -> None:
    job_id = submit(jobs)
    redis.lpop(QUEUE)
    writer = LogWriter(redis, job_id)
    jobs._canceller.stop(job_id)
    assert redis.exists(keys.cancel(job_id))
    assert not log_of(redis, job_id)
    assert writer.finish() == [1]


def test_a_chat_stopped_on_its_second_way_through_the_queue_keeps_its_text(
    jobs: JobQueue, redis: Redis
) -> None:
    job_id = submit(jobs)
    LogWriter(redis, job_id).text("some ", "text")
    redis.hset(keys.job(job_id), "state", "queued")
    jobs._canceller.stop(job_id)
    *texts, end = log_of(redis, job_id)
    assert [delta.text for delta in texts] == ["some ", "text"]
    assert end.finish_reason == "cancelled"
    assert end.usage.completion_tokens == 2


def test_a_stop_that_another_process_did_not_finish_is_finished(
    jobs: JobQueue, redis: Redis
) -> None:
    job_id = submit(jobs)
    redis.lrem(QUEUE, 1, job_id)
    redis.zadd(keys.STOPPING, {job_id: jobs._now_and_depth()[0] - STOPPING_S * 1000 - 1})
    jobs._reaper.finish_interrupted()
    assert log_of(redis, job_id)[-1].finish_reason == "cancelled"
    assert redis.zcard(keys.STOPPING) == 0


def test_stop_all_ends_chats_and_leaves_commands(jobs: JobQueue, redis: Redis) -> None:
    chats = [submit(jobs) for _ in range(3)]
    command = ModelCommand(job_id=new_job_id(), action="scan")
    jobs._submit_command(command)
    jobs._canceller.stop_all(EVERYONE)
    assert redis.lrange(QUEUE, 0, -1) == [command.job_id.encode()]
    assert all(log_of(redis, job_id)[-1].finish_reason == "cancelled" for job_id in chats)


def test_commands_go_before_what_waits(jobs: JobQueue, redis: Redis) -> None:
    submit(jobs)
    command = ModelCommand(job_id=new_job_id(), action="load", model_id="model-1")
    jobs._submit_command(command)
    assert redis.lindex(QUEUE, 0) == command.job_id.encode()
    job = Job.fetch(command.job_id, connection=redis, serializer=JSONSerializer)
    assert (job.func_name, job.description) == (keys.MODEL_TASK, "load model")


def test_a_full_queue_is_429_with_a_time_worked_out_from_the_last_jobs(
    client: TestClient, redis: Redis
) -> None:
    announce(redis, status(slots=1))
    redis.rpush(keys.RECENT_RATE, 10, 20)
    redis.rpush(QUEUE, *(["x"] * LIMIT))
    response = client.post(CHAT, json=chat_body())
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert response.headers["retry-after"] == "30"
    assert not redis.keys(keys.job("*"))


@pytest.mark.parametrize(("seconds", "told"), [(0.001, "1"), (9999, "300")])
def test_retry_after_stays_within_bounds(
    client: TestClient, redis: Redis, seconds: float, told: str
) -> None:
    announce(redis)
    redis.rpush(keys.RECENT_RATE, seconds)
    redis.rpush(QUEUE, *(["x"] * LIMIT))
    assert client.post(CHAT, json=chat_body()).headers["retry-after"] == told


def test_without_a_worker_chats_and_commands_are_503(client: TestClient, redis: Redis) -> None:
    announce(redis)
    redis.delete(keys.WORKER_SEEN)
    for response in (
        client.post(CHAT, json=chat_body()),
        client.post("/models/load", json={"model_id": "model-1"}),
    ):
        assert (response.status_code, response.json()["code"]) == (503, "no_worker")
        assert int(response.headers["retry-after"]) > 0
    assert not redis.keys(keys.job("*"))


@pytest.mark.parametrize(
    "body", [None, {}, {"job_id": "nobody"}, {"job_id": "0" * 32}, {"job_id": "*"}]
)
def test_stop_always_answers_stopped(client: TestClient, body: Any) -> None:
    response = (
        client.post(f"{CHAT}/stop", json=body) if body is not None else client.post(f"{CHAT}/stop")
    )
    assert (response.status_code, response.json()) == (200, {"status": "stopped"})


def test_stop_refuses_an_unknown_field(client: TestClient) -> None:
    assert client.post(f"{CHAT}/stop", json={"job": "x"}).status_code == 422


def test_models_are_shown_with_what_is_loaded(client: TestClient, redis: Redis) -> None:
    announce(redis)
    [row] = client.get("/models").json()
    assert row == {
        "id": "model-1",
        "name": "Tiny Chat",
        "path": "models/tiny",
        "size": 1234,
        "architecture": "llama",
        "context_window": 2048,
        "is_vision": False,
        "downloaded": True,
        "downloading": False,
        "download_progress": 1.0,
        "loaded": True,
        "kv_quantization": 8,
    }
    assert client.get("/models/active").json()["model"]["id"] == "model-1"


def test_without_a_loaded_model_none_is_active(client: TestClient, redis: Redis) -> None:
    announce(redis, status(models=(), active_model=None))
    assert client.get("/models/active").json() == {"model": None}
    assert client.get("/models").json()[0]["loaded"] is False


def test_a_command_answers_with_what_the_worker_found(client: TestClient, redis: Redis) -> None:
    announce(redis)
    answer = {"status": "loaded", "model_id": "model-1"}
    with FakeWorker(redis, lambda _: [Finished("stop", result=answer)]).running() as worker:
        response = client.post("/models/load", json={"model_id": "Tiny Chat", "kv_quantization": 4})
    assert (response.status_code, response.json()) == (200, answer)
    [command] = worker.seen
    assert isinstance(command, ModelCommand)
    assert (command.action, command.model_id, command.kv_quantization) == ("load", "model-1", 4)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("load_conflict", 409),
        ("load_failed", 422),
        ("insufficient_memory", 507),
        ("model_not_found", 404),
    ],
)
def test_a_failed_command_has_the_status_of_its_code(
    client: TestClient, redis: Redis, code: Any, expected: int
) -> None:
    announce(redis)
    with FakeWorker(redis, lambda _: [Failed(code, "It did not work.")]).running():
        response = client.post("/models/load", json={"model_id": "model-1"})
    assert (response.status_code, response.json()["code"]) == (expected, code)


@pytest.mark.parametrize("path", ["load", "unload", "delete"])
def test_commands_about_an_unknown_model_are_404_unqueued(
    client: TestClient, redis: Redis, path: str
) -> None:
    announce(redis)
    assert client.post(f"/models/{path}", json={"model_id": "other"}).status_code == 404
    assert redis.llen(QUEUE) == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("load", {"model_id": "m", "kv_quantization": 2}),
        ("register", {"name": "a"}),
        ("download", {}),
        ("load", {}),
    ],
)
def test_commands_of_another_shape_are_refused(client: TestClient, path: str, body: Any) -> None:
    assert client.post(f"/models/{path}", json=body).status_code == 422


def test_ready_needs_a_living_worker_and_health_nothing(client: TestClient, redis: Redis) -> None:
    assert client.get("/ready").json()["code"] == "no_worker"
    announce(redis)
    assert client.get("/ready").status_code == 200
    assert client.get("/health").json() == {"status": "ok"}


def test_status_tells_queues_running_jobs_models_memory_and_workers(
    client: TestClient, redis: Redis
) -> None:
    announce(redis)
    redis.rpush(QUEUE, "x")
    answer = client.get("/api/engine/status").json()
    assert answer["queues"] == {"chat": 1, "batch": 0}
    assert answer["running"][0]["tokens_per_second"] == 9
    assert answer["models"][0]["worker"] == "w1"
    assert answer["workers"][0]["slots"] == 4


def test_a_worker_of_another_version_is_not_shown_and_breaks_nothing(
    client: TestClient, redis: Redis
) -> None:
    announce(redis)
    redis.set(keys.worker_status("w1"), '{"name": "w1", "colour": "red"}')
    assert client.get("/api/engine/status").json()["workers"] == []


def test_a_page_of_a_named_origin_may_send_the_headers_of_openais_client(
    redis: Redis,
) -> None:
    app = fake_api(redis, Settings(cors_origins=("https://chat.example",)))
    sent = "authorization,content-type,x-stainless-lang,x-stainless-retry-count"
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": sent}
    with TestClient(app) as client:
        told = client.options(
            "/v1/chat/completions", headers=asked | {"Origin": "https://chat.example"}
        )
        assert told.status_code == 200
        assert "x-stainless-lang" in told.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in told.headers
        assert (
            client.options(
                "/v1/models", headers=asked | {"Origin": "https://other.example"}
            ).status_code
            == 400
        )


def test_a_foreign_origin_gets_no_cors_headers_and_a_named_one_may_read_the_job_id(
    redis: Redis,
) -> None:
    app = fake_api(redis, Settings(cors_origins=("https://chat.example",)))
    with TestClient(app) as client:
        named = client.get("/health", headers={"origin": "https://chat.example"}).headers
        foreign = client.get("/health", headers={"origin": "https://evil.example"}).headers
    assert named["access-control-allow-origin"] == "https://chat.example"
    assert "X-Job-Id" in named["access-control-expose-headers"]
    assert "access-control-allow-origin" not in foreign


def test_every_error_code_has_a_status() -> None:
    assert set(errors.STATUS) == set(get_args(ErrorCode))
    assert all(400 <= code <= 599 for code in errors.STATUS.values())


def test_an_unexpected_exception_is_a_500_without_its_text(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: RegistryReader) -> None:
        raise RuntimeError("the canary sings")

    monkeypatch.setattr(RegistryReader, "models", broken)
    response = client.get("/models")
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "canary" not in response.text


def test_a_full_redis_is_told_apart_from_an_absent_one() -> None:
    from redis.exceptions import ConnectionError, OutOfMemoryError

    assert errors.from_redis(OutOfMemoryError("OOM command not allowed")).code == "redis_full"
    absent = errors.from_redis(ConnectionError("nobody there"))
    assert (absent.code, absent.retry_after) == ("redis_unavailable", errors.RETRY_SOON_S)


def test_error_bodies_are_cut_to_one_kilobyte() -> None:
    body = ApiError("invalid_request", "No.", errors=["😀" * 100] * 5).response().body
    assert len(body) <= errors.BODY_LIMIT


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api/engine/chat/%00/events", "/api/engine/chat/x/events"]
)
def test_unknown_addresses_and_jobs_are_404_in_the_same_format(
    client: TestClient, path: str
) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert set(response.json()) == {"detail", "code", "errors"}


def test_the_description_of_the_api_is_served_and_no_page_loads_scripts_from_elsewhere(
    client: TestClient,
) -> None:
    assert client.get("/openapi.json").status_code == 200
    assert re.findall("https?://|swagger|redoc", client.get("/docs").text) == []
    assert client.get("/redoc").status_code == 404


def test_importing_the_api_imports_neither_mlx_nor_the_worker() -> None:
    code = "import api.app, sys; print([n for n in sys.modules if n.split('.')[0] in ('mlx', 'mlx_lm', 'worker')])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_a_chat_that_a_living_worker_cannot_read_is_refused_by_name(
    jobs: JobQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(redis, old := status())
    redis.delete(keys.worker_reads(old.name))  # It says nothing of versions.
    chat = a_chat()

    def too_new(job: ChatJob, version: int) -> ChatJob:
        assert (job, version) == (chat, FIRST)
        raise TooNew("flavour")

    monkeypatch.setattr("api.jobs.queue.needs", {chat: 2}.__getitem__)
    monkeypatch.setattr("api.jobs.queue.readable", too_new)
    with pytest.raises(ApiError, match="flavour") as refused:
        asyncio.run(jobs.submit_chat(chat, Policy("cancel")))
    assert (refused.value.code, errors.STATUS[refused.value.code]) == ("workers_outdated", 503)
    assert not redis.exists("rq:queue:chat")
