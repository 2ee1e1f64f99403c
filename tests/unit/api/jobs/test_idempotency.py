"""A key makes one job: which keys are valid, which bodies are the same, and what Redis stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import QUEUE, FakeWorker, announce, chat_body, message
from tests.support.fake_api import fake_api
from wire import keys
from wire.settings import Settings

CHAT = "/api/engine/chat"
JOBS = "/api/engine/jobs"


@pytest.fixture
def client(redis: Redis) -> Iterator[TestClient]:
    announce(redis)
    app = fake_api(redis, Settings(queue_limit=2))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def ask(client: TestClient, key: str, **more: Any) -> Any:
    return client.post(CHAT, json=chat_body(**more), headers={"Idempotency-Key": key})


def test_the_same_request_again_is_the_same_job_from_its_start(
    client: TestClient, redis: Redis
) -> None:
    with FakeWorker(redis).running() as worker:
        first, second = ask(client, "k"), ask(client, "k")
    assert len(worker.seen) == 1
    assert first.headers["x-job-id"] == second.headers["x-job-id"]
    frames = [[line for line in answer.text.splitlines() if line] for answer in (first, second)]
    assert frames[0][1:] == frames[1][1:]


def test_defaults_that_are_spelled_out_are_the_same_body(client: TestClient, redis: Redis) -> None:
    with FakeWorker(redis).running() as worker:
        ask(client, "k")
        assert ask(client, "k", max_tokens=512, seed=None).status_code == 200
    assert len(worker.seen) == 1


@pytest.mark.parametrize(
    "more", [{"seed": 1}, {"messages": [message("Other")]}, {"on_disconnect": "continue"}]
)
def test_another_body_under_the_same_key_is_409(
    client: TestClient, redis: Redis, more: Any
) -> None:
    with FakeWorker(redis).running() as worker:
        ask(client, "k")
        answer = ask(client, "k", **more)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert len(worker.seen) == 1


def test_another_key_is_another_job(client: TestClient, redis: Redis) -> None:
    with FakeWorker(redis).running() as worker:
        assert ask(client, "a").headers["x-job-id"] != ask(client, "b").headers["x-job-id"]
    assert len(worker.seen) == 2


@pytest.mark.parametrize("key", ["", "two words", "x" * 256])
def test_a_key_that_is_none_is_400(client: TestClient, key: str) -> None:
    answer = ask(client, key)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_refused_request_leaves_its_key_free(client: TestClient, redis: Redis) -> None:
    redis.rpush(QUEUE, "a", "b")
    assert ask(client, "k").status_code == 429
    redis.delete(QUEUE)
    with FakeWorker(redis).running():
        assert ask(client, "k").status_code == 200


def test_an_accepted_request_is_known_also_without_a_worker_and_for_a_day(
    client: TestClient, redis: Redis
) -> None:
    with FakeWorker(redis).running():
        first = ask(client, "k")
    redis.delete(keys.WORKER_SEEN)
    assert ask(client, "k").headers["x-job-id"] == first.headers["x-job-id"]
    [name] = redis.keys(keys.idempotency("everyone", "*"))  # type: ignore[misc]
    assert 0 < int(redis.ttl(name)) <= 24 * 3600  # type: ignore[arg-type]
    assert b"Hello" not in name
    assert b":k" not in name


def test_a_job_tells_its_place_its_text_and_its_end(client: TestClient, redis: Redis) -> None:
    with FakeWorker(redis).running():
        job_id = ask(client, "k").headers["x-job-id"]
    view = client.get(f"{JOBS}/{job_id}").json()
    assert (view["state"], view["text"], view["finish_reason"], view["position"]) == (
        "ended",
        "Hello",
        "stop",
        None,
    )
    assert view["last_event_id"] == 2
    redis.delete(keys.log(job_id))
    assert client.get(f"{JOBS}/{job_id}").json()["code"] == "expired"
    assert client.get(f"{JOBS}/{'0' * 32}").json()["code"] == "job_not_found"


def test_a_job_that_waits_tells_its_place(client: TestClient, redis: Redis) -> None:
    job_id = "a" * 32
    redis.hset(keys.job(job_id), mapping={"owner": "everyone", "kind": "chat", "state": "running"})
    redis.rpush(QUEUE, "b" * 32, job_id)
    view = client.get(f"{JOBS}/{job_id}").json()
    assert (view["state"], view["position"], view["text"]) == ("queued", 2, "")
