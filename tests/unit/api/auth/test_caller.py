"""One caller neither sees nor stops another's chats. The name comes from a header that only tests
send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth.caller import Caller
from tests.support.api_support import QUEUE, FakeWorker, announce, chat_body
from tests.support.fake_api import fake_api
from wire import keys

CHAT = "/api/engine/chat"


class NamedByHeader:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["caller"] = Caller(dict(scope["headers"]).get(b"name", b"").decode())
        await self._app(scope, receive, send)


@pytest.fixture
def client(redis: Redis) -> Iterator[TestClient]:
    announce(redis)
    app = fake_api(redis)
    app.add_middleware(NamedByHeader)
    with TestClient(app) as client:
        yield client


def ask(client: TestClient, name: str, **headers: str) -> str:
    answer = client.post(CHAT, json=chat_body(), headers={"name": name, **headers})
    return str(answer.headers["x-job-id"])


def queued(redis: Redis, job_id: str, owner: str) -> str:
    redis.hset(
        keys.job(job_id),
        mapping={
            "owner": owner,
            "kind": "chat",
            "state": "queued",
            "submitted_ms": 0,
            "model_id": "m",
        },
    )
    redis.zadd(keys.live(owner), {job_id: 0})
    redis.rpush(QUEUE, job_id)
    return job_id


@pytest.mark.parametrize("path", [CHAT + "/{}/events", "/api/engine/jobs/{}"])
def test_another_callers_chat_is_as_unknown_as_one_that_never_was(
    client: TestClient, redis: Redis, path: str
) -> None:
    with FakeWorker(redis).running():
        job_id = ask(client, "ann")
    answers: list[Any] = [
        client.get(path.format(job_id), headers={"name": name}) for name in ("ann", "bob")
    ]
    unknown = client.get(path.format("0" * 32), headers={"name": "bob"})
    assert [answer.status_code for answer in answers] == [200, 404]
    assert answers[1].json() == unknown.json()


def test_a_stop_without_a_body_reaches_the_callers_own_chats_alone(
    client: TestClient, redis: Redis
) -> None:
    anns, bobs = queued(redis, "a" * 32, "ann"), queued(redis, "b" * 32, "bob")
    assert client.post(f"{CHAT}/stop", headers={"name": "bob"}).json() == {"status": "stopped"}
    assert redis.lrange(QUEUE, 0, -1) == [anns.encode()]
    assert not redis.exists(keys.cancel(anns))
    assert redis.exists(keys.cancel(bobs))


def test_a_stop_of_another_callers_chat_is_answered_and_does_nothing(
    client: TestClient, redis: Redis
) -> None:
    anns = queued(redis, "a" * 32, "ann")
    answer = client.post(f"{CHAT}/stop", json={"job_id": anns}, headers={"name": "bob"})
    assert (answer.status_code, answer.json()) == (200, {"status": "stopped"})
    assert redis.lrange(QUEUE, 0, -1) == [anns.encode()]
    assert not redis.exists(keys.cancel(anns))


def test_the_same_idempotency_key_of_two_callers_is_two_jobs(
    client: TestClient, redis: Redis
) -> None:
    key = {"Idempotency-Key": "k"}
    with FakeWorker(redis).running():
        assert ask(client, "ann", **key) == ask(client, "ann", **key) != ask(client, "bob", **key)
