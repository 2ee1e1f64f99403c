"""The routes of models: the list, and commands that a worker answers."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import MODEL, QUEUE, FakeWorker, announce, status
from wire import keys
from wire.messages import Failed, Finished, ModelCommand
from wire.model_registry import Registry
from wire.models import pins, ttls

MODELS = "/api/engine/models"
HALF = MODEL.model_copy(
    update={
        "id": "half",
        "name": "Half",
        "repository": "someone/half",
        "downloaded": False,
        "downloading": True,
        "download_progress": 0.5432,
        "download_speed": 2_000_000.5,
        "download_eta": 31.0,
        "deletable": True,
    }
)


def test_models_are_shown_with_what_is_loaded(client: TestClient, redis: Redis) -> None:
    announce(redis)
    [row] = client.get(MODELS).json()
    assert row == {
        "id": "model-1",
        "name": "Tiny Chat",
        "path": "models/tiny",
        "local_path": "models/tiny",
        "repository": "someone/tiny-chat",
        "size": 1234,
        "architecture": "llama",
        "context_window": 2048,
        "is_vision": False,
        "takes_tools": False,
        "capabilities": ["chat"],
        "dimensions": None,
        "reasoning_efforts": [],
        "downloaded": True,
        "downloading": False,
        "default": True,
        "demo": False,
        "download_progress": 100.0,
        "download_speed": None,
        "download_eta": None,
        "download_error": None,
        "deletable": False,
        "sampling_defaults": {},
        "loaded": True,
        "load_progress": None,
        "base_id": None,
        "problem": None,
        "pinned": False,
        "ttl": None,
        "unloads_in_s": None,
        "kv_quantization": 8,
        "draft_model": None,
    }
    of_active = ("id", "name", "path", "architecture", "context_window", "is_vision")
    active = {name: row[name] for name in (*of_active, "kv_quantization")}
    assert client.get(f"{MODELS}/active").json() == {"model": active}


def test_a_download_is_shown_in_percent_and_has_no_local_path_yet(
    client: TestClient, redis: Redis
) -> None:
    announce(redis)
    Registry(redis).put(HALF)
    row = client.get(MODELS).json()[0]
    shown = ("id", "downloaded", "downloading", "download_progress", "local_path", "deletable")
    assert [row[name] for name in shown] == ["half", False, True, 54.3, None, True]
    assert (row["download_speed"], row["download_eta"]) == (2_000_000.5, 31.0)


def test_a_download_is_cancelled_by_any_of_its_names(client: TestClient, redis: Redis) -> None:
    announce(redis)
    answer = {"status": "cancelled", "model_id": "half"}
    with FakeWorker(redis, lambda _: [Finished("stop", result=answer)]).running() as worker:
        response = client.post(f"{MODELS}/download/cancel", json={"model_id": "someone/half"})
    assert (response.status_code, response.json()) == (200, answer)
    [command] = worker.seen
    assert isinstance(command, ModelCommand)
    assert (command.action, command.model_id) == ("cancel_download", "someone/half")


def test_the_addresses_of_earlier_releases_answer_as_they_did_and_say_so(
    client: TestClient, redis: Redis
) -> None:
    announce(redis)
    Registry(redis).put(HALF)
    answer = client.get("/models")
    assert (answer.headers["deprecation"], answer.headers["link"]) == (
        "@1796083200",
        '</api/engine/models>; rel="successor-version"',
    )
    half, tiny = answer.json()
    assert (half["download_progress"], tiny["download_progress"]) == (0.5432, 1.0)
    assert tiny["loaded"] is True
    assert "local_path" not in tiny
    assert client.get("/models/active").json() == client.get(f"{MODELS}/active").json()
    assert "deprecation" not in client.get(MODELS).headers
    paths = client.get("/openapi.json").json()["paths"]
    old = {path: methods for path, methods in paths.items() if path.startswith("/models")}
    assert {f"/api/engine{path}" for path in old} <= set(paths)
    assert all(route.get("deprecated") for methods in old.values() for route in methods.values())


def test_without_a_loaded_model_none_is_active(client: TestClient, redis: Redis) -> None:
    announce(redis, status(models=(), active_model=None))
    assert client.get(f"{MODELS}/active").json() == {"model": None}
    assert client.get(MODELS).json()[0]["loaded"] is False


@pytest.mark.parametrize("prefix", [MODELS, "/models"])
def test_a_command_answers_with_what_the_worker_found(
    client: TestClient, redis: Redis, prefix: str
) -> None:
    announce(redis)
    answer = {"status": "loaded", "model_id": "model-1"}
    with FakeWorker(redis, lambda _: [Finished("stop", result=answer)]).running() as worker:
        response = client.post(
            f"{prefix}/load", json={"model_id": "Tiny Chat", "kv_quantization": 4}
        )
    assert (response.status_code, response.json()) == (200, answer)
    [command] = worker.seen
    assert isinstance(command, ModelCommand)
    assert (command.action, command.model_id, command.kv_quantization) == ("load", "model-1", 4)


def test_the_url_of_a_registration_is_ignored(client: TestClient, redis: Redis) -> None:
    announce(redis)
    answer = {"status": "registered", "model_id": "x", "name": "Mine"}
    body = {"name": "Mine", "path": "/models/mine", "url": "https://elsewhere.example/x"}
    with FakeWorker(redis, lambda _: [Finished("stop", result=answer)]).running() as worker:
        response = client.post(f"{MODELS}/register", json=body)
    assert (response.status_code, response.json()) == (200, answer)
    [command] = worker.seen
    assert isinstance(command, ModelCommand)
    assert (command.action, command.name, command.path) == ("register", "Mine", "/models/mine")
    assert "elsewhere" not in command.model_dump_json()


def test_a_model_is_pinned_before_it_is_loaded_and_until_it_is_unpinned_or_unloaded(
    client: TestClient, redis: Redis
) -> None:
    announce(redis)
    seen: list[dict[bytes, bytes]] = []

    def done(command: Any) -> list[Any]:
        seen.append(redis.hgetall(pins.PINNED_MODELS))
        unloaded = {"status": "unloaded", "models": ["model-1"]}
        return [Finished("stop", result=unloaded if command.action == "unload" else {})]

    def post(path: str, **body: Any) -> None:
        answer = client.post(f"{MODELS}/{path}", json={"model_id": "Tiny Chat"} | body)
        assert answer.status_code == 200, answer.text

    with FakeWorker(redis, done).running():
        post("load", kv_quantization=4)
        post("load", kv_quantization=4, pin=True)
        assert client.get(MODELS).json()[0]["pinned"] is True
        post("load", kv_quantization=8)
        post("unpin")
        assert client.get(MODELS).json()[0]["pinned"] is False
        post("load", pin=True)
        post("unload")
        post("load")
    kept = [pins.decode(stored).get("model-1") for stored in seen]
    assert [pin and pin.kv_quantization for pin in kept] == [None, 4, 8, None, None, None]
    assert [pin is None for pin in kept] == [True, False, False, False, False, True]


def test_a_load_says_how_long_its_model_may_be_idle(client: TestClient, redis: Redis) -> None:
    announce(redis)
    redis.set(ttls.worker_expiries("w1"), '{"model-1": 4.5}')

    def load(**body: Any) -> Any:
        return client.post(f"{MODELS}/load", json={"model_id": "model-1"} | body)

    def row() -> tuple[Any, Any]:
        [shown] = client.get(MODELS).json()
        return shown["ttl"], shown["unloads_in_s"]

    with FakeWorker(redis, lambda _: [Finished("stop", result={})]).running():
        for sent, kept in (("10m", 600), (90, 90), ("-1", -1), (None, None)):
            assert load(ttl=sent).status_code == 200
            assert row() == (kept, 4.5)
        load(ttl=90)
        load()
        assert row() == (None, 4.5)
        for body, code in (
            ({"ttl": 0}, "invalid_request"),
            ({"ttl": "soon"}, "invalid_request"),
            ({"ttl": 5, "pin": True}, "unsupported"),
        ):
            assert load(**body).json()["code"] == code
        load(pin=True)
        assert load(ttl=5).json()["code"] == "unsupported"
        assert load(ttl=-1).status_code == 200


def test_a_load_that_fails_leaves_the_pin_as_it_was(client: TestClient, redis: Redis) -> None:
    announce(redis)
    with FakeWorker(redis, lambda _: [Failed("load_failed", "It did not work.")]).running():
        for before in ({}, {"model-1": '{"kv_quantization":8}'}):
            for model_id, pin in before.items():
                redis.hset(pins.PINNED_MODELS, model_id, pin)
            for pinned in (True, False):
                body = {"model_id": "model-1", "pin": pinned}
                assert client.post(f"{MODELS}/load", json=body).status_code == 422
                stored = redis.hgetall(pins.PINNED_MODELS)
                assert stored == {k.encode(): v.encode() for k, v in before.items()}


def test_a_load_under_way_is_told_in_percent(client: TestClient, redis: Redis) -> None:
    announce(redis, status(models=(), active_model=None))
    redis.set(keys.worker_loads(status().name), '{"model-1": 41.5, "gone": 3}')
    row = client.get(MODELS).json()[0]
    assert (row["loaded"], row["load_progress"]) == (False, 41.5)


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
        response = client.post(f"{MODELS}/load", json={"model_id": "model-1"})
    assert (response.status_code, response.json()["code"]) == (expected, code)


@pytest.mark.parametrize("path", ["load", "unload", "unpin", "delete"])
def test_commands_about_an_unknown_model_are_404_unqueued(
    client: TestClient, redis: Redis, path: str
) -> None:
    announce(redis)
    assert client.post(f"{MODELS}/{path}", json={"model_id": "other"}).status_code == 404
    assert redis.llen(QUEUE) == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("load", {"model_id": "m", "kv_quantization": 2}),
        ("register", {"name": "a"}),
        ("download", {}),
        ("load", {}),
        ("download", {"model_id": "a/b", "url": "https://elsewhere.example"}),
    ],
)
def test_commands_of_another_shape_are_refused(client: TestClient, path: str, body: Any) -> None:
    assert client.post(f"{MODELS}/{path}", json=body).status_code == 422


def test_a_model_without_a_cache_is_not_loaded_with_a_quantised_one(
    client: TestClient, redis: Redis
) -> None:
    announce(redis)
    embeds = MODEL.model_copy(update={"id": "vectors", "name": "Vectors", "tasks": ("embed",)})
    Registry(redis).put(embeds)
    body = {"model_id": "vectors", "kv_quantization": 8}
    refused = client.post(f"{MODELS}/load", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "unsupported")
    assert redis.llen(QUEUE) == 0
