"""The routes of models: the list, and commands that a worker answers."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import QUEUE, FakeWorker, announce, status
from wire.messages import Failed, Finished, ModelCommand


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
        "takes_tools": False,
        "reasoning_efforts": [],
        "downloaded": True,
        "downloading": False,
        "download_progress": 1.0,
        "sampling_defaults": {},
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
