"""Readiness, and the overview of queues, workers and models."""

from __future__ import annotations

from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import MODEL, QUEUE, LogWriter, announce, status
from wire import keys
from wire.model_registry import Registry
from wire.worker_status import LoadedModel, RunningJob

GONE = "3fee92c9-860f-5cba-a80d-d2de7038fa7d"


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


def test_models_have_names_also_those_that_are_gone(client: TestClient, redis: Redis) -> None:
    job = RunningJob(
        job_id="a" * 32,
        owner="ann",
        model_id=GONE,
        tokens=3,
        tokens_per_second=9,
        ttft_ms=8,
        elapsed_ms=7,
    )
    models = tuple(LoadedModel(id=i, kv_quantization=None, bytes=9) for i in (GONE, MODEL.id))
    announce(redis, status(running=(job,), models=models))
    answer = client.get("/api/engine/status").json()
    assert [row["name"] for row in answer["models"]] == ["removed model (3fee92c9)", MODEL.name]
    [row] = answer["running"]
    assert (row["model"], row["owner"]) == ("removed model (3fee92c9)", "ann")


def test_recent_jobs_have_owners_as_long_as_their_records_are_kept(
    client: TestClient, redis: Redis
) -> None:
    announce(redis)
    for job_id, owner in (("a" * 32, "ann"), ("b" * 32, "bob")):
        record = {"kind": "chat", "model_id": MODEL.id, "queue": "chat", "owner": owner}
        redis.hset(keys.job(job_id), mapping=record)
        LogWriter(redis, job_id, owner).finish()
    redis.delete(keys.job("a" * 32))
    recent = client.get("/api/engine/status").json()["recent"]
    assert [row["owner"] for row in recent] == ["bob", None]
    redis.delete(keys.job("b" * 32))
    recent = client.get("/api/engine/status").json()["recent"]
    assert [row["owner"] for row in recent] == ["bob", None]


def test_downloads_are_told_until_their_models_are_there(client: TestClient, redis: Redis) -> None:
    announce(redis)
    assert client.get("/api/engine/status").json()["downloads"] == []
    half = {
        "id": "half",
        "name": "Half",
        "repository": "someone/half",
        "downloaded": False,
        "downloading": True,
        "download_progress": 0.5,
        "download_speed": 3e6,
        "download_eta": 12.5,
    }
    Registry(redis).put(MODEL.model_copy(update=half))
    assert client.get("/api/engine/status").json()["downloads"] == [
        {
            "id": "half",
            "name": "Half",
            "repository": "someone/half",
            "size": 1234,
            "downloading": True,
            "download_progress": 50.0,
            "download_speed": 3e6,
            "download_eta": 12.5,
            "download_error": None,
        }
    ]
