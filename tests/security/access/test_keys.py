"""API keys: which are accepted, and who owns a chat."""

from __future__ import annotations

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.security.access.keys import ANN, BOB, CHAT, DIGEST, ODD, PATHS, bearer, served
from tests.support.api_support import FakeWorker, chat_body
from wire import keys
from wire.settings import Settings


@pytest.mark.parametrize("path", PATHS)
def test_without_a_key_everything_is_401(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/health", "/ready", "/login", "/static/login.css"])
def test_health_readiness_and_the_way_in_want_no_key(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "header",
    [b"", b"Bearer", b"Bearer ", b"Bearer wrong-0123456789abcdef", b"Basic " + ANN.encode(), ANN.encode(),
     b"Bearer \xff\xfe\x80", "Bearer schlüssel-鍵".encode(), b"Bearer " + ANN[:-1].encode(), b"Bearer " + b"x" * 9999,
     f"Bearer sha256:{DIGEST}".encode(), f"Bearer {DIGEST}".encode()],
)  # fmt: skip
def test_a_wrong_or_broken_key_is_401_and_never_echoed(client: TestClient, header: bytes) -> None:
    answer = client.get("/models", headers={"authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert len(answer.content) <= 1024


@pytest.mark.parametrize(("key", "owner"), [(ANN, "ann"), (BOB, "bob"), (ODD, "odd")])
def test_a_key_lets_its_owner_in(client: TestClient, key: str, owner: str) -> None:
    assert client.get("/api/engine/session", headers=bearer(key)).json() == {
        "owner": owner,
        "keys": True,
        "roles": ["chat", "models", "admin"],
    }


def test_a_chat_belongs_to_the_owner_of_its_key(client: TestClient, redis: Redis) -> None:
    with FakeWorker(redis).running():
        answer = client.post(CHAT, json=chat_body(), headers=bearer(BOB))
    job_id = answer.headers["x-job-id"]
    assert redis.hget(keys.job(job_id), "owner") == b"bob"
    seen = [
        client.get(f"/api/engine/jobs/{job_id}", headers=bearer(key)).status_code
        for key in (BOB, ANN)
    ]
    assert seen == [200, 404]


def test_one_keys_chats_leave_room_for_the_others(redis: Redis) -> None:
    named = (f"ann:{ANN}", f"bob:{BOB}")
    with served(redis, Settings(api_keys=named, key_queue_limit=1)) as client:
        lost = "f" * 32  # no job of this id is in Redis any more
        redis.zadd(keys.live("ann"), {lost: 1})
        with FakeWorker(redis).running():
            assert client.post(CHAT, json=chat_body(), headers=bearer(ANN)).status_code == 200
        running = "e" * 32
        redis.hset(f"rq:job:{running}", "status", "started")
        redis.hset(keys.job(running), mapping={"state": "running", "owner": "ann", "kind": "chat"})
        redis.zadd(keys.live("ann"), {running: 1})
        full = client.post(CHAT, json=chat_body(), headers=bearer(ANN))
        assert (full.status_code, full.json()["code"]) == (429, "queue_full")
        with FakeWorker(redis).running():
            assert client.post(CHAT, json=chat_body(), headers=bearer(BOB)).status_code == 200
