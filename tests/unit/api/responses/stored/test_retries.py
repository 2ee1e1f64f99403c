"""A request that is repeated with its key after the service could not store its response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from starlette.testclient import TestClient

from api.errors import ApiError
from api.responses.stored.store import ResponseStore
from tests.support.api_support import FakeWorker, announce, wait_for
from tests.support.fake_api import fake_api, fake_redis
from tests.support.openai_support import TAKES_TOOLS, error
from tests.unit.api.responses.responses_support import RESPONSES, body
from wire import keys
from wire.model_registry import Registry


@pytest.fixture
def redis() -> Redis:
    redis = fake_redis()
    announce(redis)
    Registry(redis).put(TAKES_TOOLS)
    return redis


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Have the next response that is to be stored fail with this."""
    put = ResponseStore.put
    failures: list[Exception] = []

    async def flaky(store: ResponseStore, *args: Any) -> None:
        if failures:
            raise failures.pop()
        await put(store, *args)

    monkeypatch.setattr(ResponseStore, "put", flaky)
    return failures.append


def test_the_next_try_finds_its_job_as_it_was(
    redis: Redis, fails: Callable[[Exception], None]
) -> None:
    sent, key = body(background=True), {"Idempotency-Key": "k"}
    with TestClient(fake_api(redis)) as client:
        fails(RedisConnectionError("gone"))
        refused = client.post(RESPONSES, json=sent, headers=key)
        assert (refused.status_code, error(refused)["code"]) == (503, "redis_unavailable")
        told = client.post(RESPONSES, json=sent, headers=key).json()
        assert told["status"] == "queued"
        assert FakeWorker(redis).step()
        assert client.get(f"{RESPONSES}/{told['id']}").json()["status"] == "completed"


@pytest.mark.parametrize(
    ("failure", "headers", "status"),
    [
        (RedisConnectionError("gone"), {}, 503),
        (ApiError("too_large", "Too long."), {"Idempotency-Key": "k"}, 413),
    ],
)
def test_a_job_that_nobody_can_come_back_to_is_stopped(
    redis: Redis,
    fails: Callable[[Exception], None],
    failure: Exception,
    headers: dict[str, str],
    status: int,
) -> None:
    with TestClient(fake_api(redis)) as client:
        fails(failure)
        sent = body(background=True)
        assert client.post(RESPONSES, json=sent, headers=headers).status_code == status
        wait_for(lambda: redis.zcard(keys.live("everyone")) == 0)
    assert not FakeWorker(redis).step()
