"""Readiness, and the overview of queues, workers and models."""

from __future__ import annotations

from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import QUEUE, announce
from wire import keys


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
