"""Errors: their codes, statuses and bodies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api import errors
from api.errors import ApiError
from api.registry import RegistryReader
from tests.support.fake_api import fake_api
from wire.messages import ErrorCode


@pytest.fixture
def client(redis: Redis) -> Iterator[TestClient]:
    with TestClient(fake_api(redis), raise_server_exceptions=False) as client:
        yield client


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


def test_a_full_redis_and_an_absent_one_are_different_errors() -> None:
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


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/nowhere", "/docs"),
        ("/v1/nowhere", "/docs"),
        ("/chat/completions", "ends in /v1"),
        ("/responses/resp_1", "ends in /v1"),
        ("/messages", "below /v1"),
        ("/models/smollm2", "below /v1"),
        ("/messages/nothing", "/docs"),
        ("/v1/v1/messages", "twice"),
        ("/api/tags", "Ollama"),
        ("/api/chat", "Ollama"),
        ("/v1/audio/speech", "not served"),
        ("/v1/messages/batches", "not served"),
    ],
)
def test_an_address_of_another_service_is_told_from_a_wrong_one(
    client: TestClient, path: str, hint: str
) -> None:
    response = client.post(path, json={})
    assert response.status_code == 404
    assert hint in response.text
