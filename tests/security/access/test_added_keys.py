"""Keys that are added while the service runs: valid at once, held as digests, gone within a second
everywhere; their roles, their quotas, and who may add them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from api.auth import roles
from api.auth.key_store import KeyStore
from api.deps import find_service
from api.jobs.relay import Relay
from tests.security.access.keys import ANN, CHAT, bearer, served, sign_in
from tests.support.api_support import FakeWorker, LogWriter, announce, chat_body, frames, wait_for
from tests.support.fake_api import connections, fake_redis
from wire import keys
from wire.access.api_keys import API_KEYS
from wire.settings import Settings
from wire.usage import day_of

KEYS = "/api/engine/keys"
Body = dict[str, Any]


@pytest.fixture
def redis() -> Redis:
    redis = fake_redis()
    announce(redis)
    return redis


@pytest.fixture
def client(redis: Redis) -> Iterator[TestClient]:
    """A service with one key in its settings."""
    with served(redis, Settings(api_keys=(f"ann:{ANN}",))) as client:
        yield client


def add(client: TestClient, name: str, *roles: str, by: str = ANN, **more: object) -> Body:
    body = {"name": name, "roles": roles or ["chat"], **more}
    added: Body = client.post(KEYS, json=body, headers=bearer(by) if by else {}).json()
    return added


def status(client: TestClient, key: str, path: str = "/api/engine/models") -> int:
    return client.get(path, headers=bearer(key)).status_code


def test_a_key_is_shown_once_and_redis_has_its_digest_alone(
    client: TestClient, redis: Redis
) -> None:
    added = add(client, "bob", "chat", "models")
    assert re.fullmatch(f"sk-mlxq-{added['id']}-[A-Za-z0-9_-]{{43}}", added["key"])
    secret = added["key"].rpartition(added["id"])[2]
    assert secret not in f"{redis.hgetall(API_KEYS)!r}"
    listed = client.get(KEYS, headers=bearer(ANN))
    assert secret not in listed.text
    rows = [(row["id"], row["name"], row["roles"]) for row in listed.json()]
    assert rows == [
        (None, "ann", ["chat", "models", "admin"]),
        (added["id"], "bob", ["chat", "models"]),
    ]
    assert client.get("/api/engine/session", headers=bearer(added["key"])).json() == {
        "owner": "bob",
        "keys": True,
        "roles": ["chat", "models"],
    }


def test_a_key_with_the_id_of_another_is_refused(client: TestClient) -> None:
    one, two = (add(client, "bob")["key"] for _ in range(2))
    mixed = two[:21] + one[21:]
    assert [status(client, key) for key in (one, mixed, one[:-1], one + "x")] == [
        200,
        401,
        401,
        401,
    ]


def test_a_revoked_key_is_refused_by_every_process_within_a_second(
    client: TestClient, redis: Redis
) -> None:
    added = add(client, "bob")
    with served(redis, Settings(api_keys=(f"ann:{ANN}",))) as other:
        sign_in(other, added["key"])
        assert (status(other, added["key"]), other.get("/status").status_code) == (200, 200)
        revoked = client.delete(f"{KEYS}/{added['id']}", headers=bearer(ANN))
        assert revoked.json() == {"id": added["id"], "name": "bob", "revoked": True}
        assert status(client, added["key"]) == 401
        wait_for(lambda: status(other, added["key"]) == 401, limit_s=1.0)
        assert other.get("/api/engine/session").status_code == 401
    assert client.delete(f"{KEYS}/{added['id']}", headers=bearer(ANN)).status_code == 404


def test_what_is_remembered_of_a_key_is_asked_again_after_half_a_second(redis: Redis) -> None:
    now = [0.0]

    async def run() -> list[bool]:
        clients = connections(redis)
        store = KeyStore(clients.waiting, clock=lambda: now[0])
        stored, key = await store.add("bob", ["chat"], None, first_is_admin=False)
        found = [await store.find(key.encode()) is not None]
        redis.hdel(API_KEYS, stored.id)  # as another process does
        found.append(await store.find(key.encode()) is not None)
        now[0] = 0.5
        found.append(await store.find(key.encode()) is not None)
        found.append(await store.revoked(stored.id))
        await clients.close()
        return found

    assert asyncio.run(run()) == [True, True, False, True]


def test_an_open_stream_of_a_revoked_key_ends_and_can_not_be_resumed(
    client: TestClient, redis: Redis
) -> None:
    added = add(client, "bob")
    job_id = "5" * 32
    record = {"owner": "bob", "kind": "chat", "state": "running", "version": "2", "submitted_ms": 0}
    redis.hset(keys.job(job_id), mapping=record)  # type: ignore[arg-type]
    redis.hset(f"rq:job:{job_id}", "status", "started")
    writer = LogWriter(redis, job_id, "bob")
    writer.text("before")
    path = f"{CHAT}/{job_id}/events"

    class Revoking(FakeWorker):
        """Revokes the key once somebody reads, and goes on writing."""

        def step(self) -> bool:
            if find_service(client.app, Relay).open:
                redis.hdel(API_KEYS, added["id"])
            if writer.sequence < 2000:
                writer.text(f" {writer.sequence}")
            return False

    with Revoking(redis).running():
        answer = client.get(path, headers=bearer(added["key"]))
    told = frames(answer.text)
    assert told[0]["text"].startswith("before")
    assert not told[-1]["done"]
    assert client.get(path, headers=bearer(added["key"])).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [("GET", "/api/engine/models", None), ("POST", "/api/engine/models/load", "models"), ("POST", "/models/load", "models"),
     ("GET", "/v1/models", None), ("POST", CHAT, "chat"), ("GET", "/v1/files", "chat"), ("POST", "/v1/responses", "chat"),
     ("GET", "/api/engine/status", None), ("GET", "/metrics", "admin"), ("GET", "/rq", "admin"), ("POST", "/rq/x", "admin"),
     ("GET", KEYS, "admin"), ("POST", KEYS, "admin"), ("DELETE", f"{KEYS}/{'a' * 12}", "admin"),
     ("GET", "/api/engine/usage", None), ("GET", "/api/engine/usage/keys", "admin"), ("GET", "/", None), ("GET", "/nowhere", None)],
)  # fmt: skip
def test_each_address_needs_its_role(
    client: TestClient, method: str, path: str, role: str | None
) -> None:
    for held in ("chat", "models", "admin"):
        answer = client.request(
            method, path, headers=bearer(add(client, f"with-{held}", held)["key"])
        )
        allowed = role in (None, held) or held == "admin"
        assert (answer.status_code == 403) is not allowed, (held, answer.text)
        assert allowed or '"forbidden"' in answer.text


def test_any_key_may_read_what_is_listed_here_and_change_nothing() -> None:
    """A new route that nobody thought of needs the role chat."""
    addresses = [
        (method.upper(), path)
        for path, methods in create_app(Settings()).openapi()["paths"].items()
        for method in methods
    ]
    assert {" ".join(one) for one in addresses if roles.needed(*one) is None} == {
        *("GET /health", "GET /ready"),
        *("GET /api/engine/session", "GET /api/engine/usage"),
        *("GET /api/engine/status", "GET /api/engine/status/events"),
        *("GET /api/engine/models", "GET /api/engine/models/active"),
        *("GET /models", "GET /models/active", "GET /v1/models", "GET /v1/models/{model}"),
    }


def test_others_jobs_are_shown_to_the_role_admin_alone(client: TestClient, redis: Redis) -> None:
    for job_id, owner in (("1" * 32, "bob"), ("2" * 32, "cid")):
        redis.hset(keys.job(job_id), mapping={"owner": owner, "kind": "chat"})
        LogWriter(redis, job_id, owner).finish()
    bob, admin = add(client, "bob")["key"], add(client, "dan", "admin")["key"]
    seen = {
        key: [
            row["owner"]
            for row in client.get("/api/engine/status", headers=bearer(key)).json()["recent"]
        ]
        for key in (bob, admin)
    }
    assert (seen[bob], sorted(seen[admin])) == (["bob"], ["bob", "cid"])


def test_the_first_key_makes_the_service_want_keys_and_the_last_one_opens_it_again(
    redis: Redis,
) -> None:
    with served(redis, Settings()) as client:
        assert client.get("/api/engine/session").json()["keys"] is False
        locked_out = client.post(KEYS, json={"name": "bob", "roles": ["chat", "models"]})
        assert (locked_out.status_code, locked_out.json()["code"]) == (409, "conflict")
        admin = add(client, "ann", "admin", by="")
        assert client.get("/api/engine/models").status_code == 401
        bob = add(client, "bob", by=admin["key"])
        last = client.delete(f"{KEYS}/{admin['id']}", headers=bearer(admin["key"]))
        assert (last.status_code, last.json()["code"]) == (409, "conflict")
        for gone in (bob, admin):
            assert (
                client.delete(f"{KEYS}/{gone['id']}", headers=bearer(admin["key"])).status_code
                == 200
            )
        assert client.get("/api/engine/models").status_code == 200


@pytest.mark.parametrize("more", [{"require_keys": "on"}, {"host": "0.0.0.0"}])
def test_where_keys_are_required_none_is_no_way_in(redis: Redis, more: Any) -> None:
    app = create_app(Settings(**more), connections(redis), stored_keys=True)
    with TestClient(app) as client:
        assert client.get("/api/engine/models").status_code == 401
        assert client.post(KEYS, json={"name": "eve", "roles": ["admin"]}).status_code == 401


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": "everyone"}, {"name": "a b"}, {"name": "../x"}, {"name": "a:b"}, {"name": "x" * 65},
     {"name": "a", "roles": []}, {"name": "a", "roles": ["root"]}, {"name": "a", "daily_tokens": -1}, {"name": "a\n"},
     {"name": "a", "key": "chosen-0123456789abcdef"}],
)  # fmt: skip
def test_a_key_that_makes_no_sense_is_refused(client: TestClient, redis: Redis, body: Body) -> None:
    answer = client.post(KEYS, json=body, headers=bearer(ANN))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert not redis.exists(API_KEYS)


def test_a_key_beyond_its_quota_is_refused_until_the_day_ends_and_nobody_else(
    client: TestClient, redis: Redis
) -> None:
    bob = add(client, "bob", daily_tokens=10)["key"]
    redis.hset(
        keys.usage_day("bob", day_of(redis.time()[0])),
        mapping={"prompt_tokens": 6, "completion_tokens": 3, "cached_tokens": 5},
    )
    requests: list[tuple[str, Body]] = [
        (CHAT, chat_body()),
        ("/v1/chat/completions", {"messages": chat_body()["messages"]}),
        (
            "/v1/messages",
            {"messages": chat_body()["messages"], "max_tokens": 5, "model": "model-1"},
        ),
        ("/api/engine/batches", {"model_id": "model-1", "prompts": ["x"]}),
    ]
    with FakeWorker(redis).running():
        assert client.post(CHAT, json=chat_body(), headers=bearer(bob)).status_code == 200
        redis.hincrby(keys.usage_day("bob", day_of(redis.time()[0])), "prompt_tokens", 1)
        refused = [client.post(p, json=body, headers=bearer(bob)) for p, body in requests]
        assert client.post(CHAT, json=chat_body(), headers=bearer(ANN)).status_code == 200
    assert [answer.status_code for answer in refused] == [429] * 4
    assert refused[0].json()["code"] == "quota_exceeded"
    assert refused[1].json()["error"]["code"] == "insufficient_quota"
    assert refused[2].json()["error"]["type"] == "rate_limit_error"
    for answer in refused:
        left = 86400 - redis.time()[0] % 86400
        assert abs(int(answer.headers["Retry-After"]) - left) <= 60
        assert answer.headers["X-Should-Retry"] == "false"
    quota = {"name": "bob", "daily_tokens": None}
    assert client.post(f"{KEYS}/quota", json=quota, headers=bearer(ANN)).json() == quota
    with FakeWorker(redis).running():
        assert client.post(CHAT, json=chat_body(), headers=bearer(bob)).status_code == 200
