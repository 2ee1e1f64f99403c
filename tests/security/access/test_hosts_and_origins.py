"""Host and Origin headers, and the headers of every response that protect a browser."""

from __future__ import annotations

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.security.access.keys import ANN, CHAT, PATHS, bearer, served
from tests.support.fake_api import fake_api
from wire.settings import Settings


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]",
     "0.0.0.0", "2130706433.example", "\xe9", "local", "evil-local", "evil.local.example", "docker.internal",
     "evil.docker.internal", "host.docker.internal.evil.example", "lan.example", "example", "evillan.example"],
)  # fmt: skip
def test_without_keys_a_foreign_host_name_is_400(without_keys: TestClient, host: str) -> None:
    answer = without_keys.get("/models", headers={"host": host.encode("latin-1")})  # type: ignore[dict-item]
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000", "queue.lan", "QUEUE.lan.",
     "a.lan.example", "a.b.lan.example:1", "host.docker.internal:8000", "gateway.docker.internal",
     "host.containers.internal", "host.lima.internal", "anns-mac.local", "Anns-Mac.local.:8000"],
)  # fmt: skip
def test_names_of_this_machine_and_allowed_ones_are_accepted(
    without_keys: TestClient, host: str
) -> None:
    assert without_keys.get("/models", headers={"host": host}).status_code == 200


def test_with_keys_any_host_name_will_do_unless_some_are_named(
    client: TestClient, redis: Redis
) -> None:
    foreign = bearer(ANN) | {"host": "queue.example"}
    assert client.get("/models", headers=foreign).status_code == 200
    with served(redis, Settings(api_keys=(f"ann:{ANN}",), allowed_hosts=("queue.lan",))) as strict:
        assert strict.get("/models", headers=foreign).status_code == 400
        assert (
            strict.get("/models", headers=bearer(ANN) | {"host": "queue.lan:1"}).status_code == 200
        )


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.evil", "file://"],
)
@pytest.mark.parametrize("path", [f"{CHAT}/stop", "/models/scan", "/rq/queues/chat/cleanup-stale"])
def test_a_foreign_page_changes_nothing(without_keys: TestClient, origin: str, path: str) -> None:
    answer = without_keys.post(path, headers={"origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "access-control-allow-origin" not in answer.headers


def test_our_own_pages_and_named_origins_may(without_keys: TestClient, client: TestClient) -> None:
    assert (
        without_keys.post(f"{CHAT}/stop", headers={"origin": "http://127.0.0.1"}).status_code == 200
    )
    named = bearer(ANN) | {"origin": "https://chat.example"}
    answer = client.post(f"{CHAT}/stop", headers=named)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://chat.example"


def test_a_named_origin_can_read_that_its_key_is_wrong(client: TestClient) -> None:
    answer = client.get("/models", headers={"origin": "https://chat.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (
        401,
        "https://chat.example",
    )


@pytest.mark.parametrize("path", [*PATHS, "/login", "/health", "/static/login.css"])
def test_every_answer_has_safe_headers(without_keys: TestClient, path: str) -> None:
    headers = without_keys.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    if not path.startswith("/rq"):
        assert "unsafe" not in headers["content-security-policy"]


def test_a_crash_and_a_refusal_have_them_too(redis: Redis, client: TestClient) -> None:
    app = fake_api(redis)

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError

    with TestClient(app, raise_server_exceptions=False) as broken:
        answers = [
            broken.get("/crash"),
            client.get("/models"),
            broken.get("/models", headers={"host": ""}),
        ]
    assert [answer.status_code for answer in answers] == [500, 401, 400]
    assert all("content-security-policy" in answer.headers for answer in answers)
