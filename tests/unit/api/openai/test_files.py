"""Uploaded files: stored within the budget, visible to their owner alone, and not stored at all
when refused."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from fakeredis import FakeRedis
from starlette.testclient import TestClient

from api.batches import file_store
from tests.support.api_support import announce
from tests.support.fake_api import fake_api, fake_redis
from wire import keys
from wire.settings import Settings

NOISE = random.Random(7).randbytes(17 << 20)
"""Does not compress."""


@pytest.fixture(scope="module")
def redis() -> FakeRedis:
    return fake_redis()


@pytest.fixture(scope="module")
def running(redis: FakeRedis) -> Iterator[TestClient]:
    announce(redis)
    with TestClient(fake_api(redis, Settings(batch_mb=16))) as made:
        yield made


@pytest.fixture
def client(redis: FakeRedis, running: TestClient) -> TestClient:
    """The API, without files of other tests."""
    redis.flushall()
    announce(redis)
    return running


def stored_bytes(redis: FakeRedis) -> int:
    return int(redis.get(keys.BATCH_BYTES_TOTAL) or 0)


def upload(
    client: TestClient, content: bytes, purpose: str = "batch", **more: str
) -> tuple[int, dict[str, object]]:
    form = {"purpose": purpose, **more}
    answer = client.post("/v1/files", data=form, files={"file": ("p.jsonl", content)})
    return answer.status_code, answer.json()


def test_a_file_takes_room_and_gives_it_back(client: TestClient, redis: FakeRedis) -> None:
    status, file = upload(client, NOISE[: 3 << 20])
    assert status == 200
    assert stored_bytes(redis) > 3 << 20
    assert client.get(f"/v1/files/{file['id']}/content").content == NOISE[: 3 << 20]
    assert client.delete(f"/v1/files/{file['id']}").status_code == 200
    assert stored_bytes(redis) == 0


@pytest.mark.parametrize(
    ("content", "purpose", "more", "status"),
    [
        (NOISE, "batch", {}, 429),
        (b"{}", "assistants", {}, 400),
        (b"{}", "batch", {"expires_after[seconds]": "60"}, 400),
    ],
)
def test_a_refused_file_leaves_nothing(
    client: TestClient,
    redis: FakeRedis,
    content: bytes,
    purpose: str,
    more: dict[str, str],
    status: int,
) -> None:
    answered, refusal = upload(client, content, purpose, **more)
    assert (answered, set(refusal)) == (status, {"error"})
    assert stored_bytes(redis) == 0
    assert list(redis.scan_iter("*file*")) == []


def test_a_file_that_is_too_large_is_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_store, "MOST_BYTES", 1000)
    status, refusal = upload(client, b"x" * 1001)
    assert (status, refusal["error"]["code"]) == (413, "too_large")  # type: ignore[index]


def test_a_file_can_ask_for_a_shorter_life(client: TestClient, redis: FakeRedis) -> None:
    _, file = upload(
        client, b"{}", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    )
    assert file["expires_at"] - file["created_at"] == 3600  # type: ignore[operator]
    for name in (keys.file(str(file["id"])), keys.file_piece(str(file["id"]), 0)):
        assert 3500 < redis.ttl(name) <= 3600


def test_nobody_sees_the_files_and_batches_of_another(client: TestClient, redis: FakeRedis) -> None:
    _, file = upload(client, b"{}\n")
    body = {
        "input_file_id": file["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    batch = client.post("/v1/batches", json=body).json()
    assert client.get(f"/v1/batches/{batch['id']}").status_code == 200
    redis.hset(keys.order(batch["id"].removeprefix("batch_")), "owner", "somebody else")
    redis.hset(keys.file(str(file["id"])), "owner", "somebody else")
    for path in (
        f"/v1/files/{file['id']}",
        f"/v1/files/{file['id']}/content",
        f"/v1/batches/{batch['id']}",
    ):
        assert client.get(path).status_code == 404
    assert client.post("/v1/batches", json=body).status_code == 404
    assert client.post(f"/v1/batches/{batch['id']}/cancel").status_code == 404
    assert client.delete(f"/v1/files/{file['id']}").status_code == 404


def test_fields_of_a_batch_are_refused_or_named(client: TestClient) -> None:
    _, file = upload(client, b"{}\n")
    body = {
        "input_file_id": file["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    answer = client.post("/v1/batches", json=body | {"chat_id": 1, "output_expires_after": None})
    assert (answer.status_code, answer.headers["x-ignored-fields"]) == (200, "chat_id")
    assert "x-ignored-fields" not in client.post("/v1/batches", json=body).headers
    expiry = {"anchor": "created_at", "seconds": 3600}
    refused = client.post("/v1/batches", json=body | {"output_expires_after": expiry})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (
        400,
        "unsupported",
        "output_expires_after",
    )
