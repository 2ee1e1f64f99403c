"""Who is let in: keys, sessions, Host and Origin headers, and what every answer tells the
browser."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import FakeWorker, announce, chat_body
from tests.support.fake_api import fake_api, fake_redis
from wire import keys
from wire.settings import Settings

ANN, BOB, ODD = "ann-0123456789abcdef", "bob-0123456789abcdef", "schlüssel-鍵-0123456789"
DIGEST = hashlib.sha256(BOB.encode()).hexdigest()
CHAT = "/api/engine/chat"
PATHS = [
    "/",
    "/models",
    "/api/engine/status",
    "/api/engine/session",
    "/openapi.json",
    "/nowhere",
    "/rq",
]


def bearer(key: str) -> dict[str, Any]:
    return {"authorization": b"Bearer " + key.encode()}


def served(redis: Redis, settings: Settings) -> TestClient:
    return TestClient(fake_api(redis, settings), follow_redirects=False)


@pytest.fixture(scope="module")
def redis() -> Redis:
    redis = fake_redis()
    announce(redis)
    return redis


@pytest.fixture(scope="module")
def with_keys(redis: Redis) -> Iterator[TestClient]:
    named = (f"ann:{ANN}", f"bob:sha256:{DIGEST}", f"odd:{ODD}")
    with served(redis, Settings(api_keys=named, cors_origins=("https://chat.example",))) as client:
        yield client


@pytest.fixture(scope="module")
def without_keys(redis: Redis) -> Iterator[TestClient]:
    with served(redis, Settings(allowed_hosts=("queue.lan", "*.lan.example"))) as client:
        yield client


@pytest.fixture
def client(with_keys: TestClient) -> TestClient:
    with_keys.cookies.clear()
    return with_keys


def sign_in(client: TestClient, key: str = ANN, **form: str) -> Any:
    return client.post("/login", data={"key": key, **form}, headers={"origin": "http://127.0.0.1"})


@pytest.mark.parametrize("path", PATHS)
def test_without_a_key_everything_is_401(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/health", "/ready", "/login", "/static/login.css"])
def test_health_readiness_and_the_way_in_want_no_key(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "said",
    [b"", b"Bearer", b"Bearer ", b"Bearer wrong-0123456789abcdef", b"Basic " + ANN.encode(), ANN.encode(),
     b"Bearer \xff\xfe\x80", "Bearer schlüssel-鍵".encode(), b"Bearer " + ANN[:-1].encode(), b"Bearer " + b"x" * 9999,
     f"Bearer sha256:{DIGEST}".encode(), f"Bearer {DIGEST}".encode()],
)  # fmt: skip
def test_a_wrong_or_broken_key_is_401_and_never_echoed(client: TestClient, said: bytes) -> None:
    answer = client.get("/models", headers={"authorization": said})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert len(answer.content) <= 1024


@pytest.mark.parametrize(("key", "owner"), [(ANN, "ann"), (BOB, "bob"), (ODD, "odd")])
def test_a_key_lets_its_owner_in(client: TestClient, key: str, owner: str) -> None:
    assert client.get("/api/engine/session", headers=bearer(key)).json() == {
        "owner": owner,
        "keys": True,
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
        lost = "f" * 32  # of which Redis has no job any more
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


def test_a_browser_without_a_session_is_led_to_the_sign_in_page(client: TestClient) -> None:
    answer = client.get("/status", headers={"accept": "text/html,*/*"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/status")


def test_a_browser_signs_in_once_and_out_again(client: TestClient, redis: Redis) -> None:
    answer = sign_in(client, next="/status")
    assert (answer.status_code, answer.headers["location"]) == (303, "/status")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert ANN not in cookie
    assert client.get("/api/engine/session").json()["owner"] == "ann"
    [name] = redis.keys(keys.session("*"))  # type: ignore[misc]
    assert 0 < redis.ttl(name) <= keys.SESSION_LIFETIME_S  # type: ignore[operator]
    token = client.cookies["mlxq_session"]
    assert token not in f"{name!r} {redis.get(name)!r}"
    client.post("/logout", headers={"origin": "http://127.0.0.1"})
    client.cookies.set("mlxq_session", token)
    assert client.get("/api/engine/session").status_code == 401


def test_over_https_the_cookie_is_for_https_alone(client: TestClient) -> None:
    answer = client.post("https://127.0.0.1/login", data={"key": ANN})
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize("key", ["", "wrong-0123456789abcdef", "\ud800", "schlüssel"])
def test_a_wrong_key_on_the_page_is_told_there(client: TestClient, key: str) -> None:
    body = (
        b"key=" + key.encode(errors="surrogatepass").hex("%").join(["%", ""]).encode()
        if key
        else b""
    )
    answer = client.post(
        "/login", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 401
    assert "Unknown API key" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "place", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "/\nx", "/é"]
)
def test_the_way_on_after_signing_in_leads_nowhere_else(client: TestClient, place: str) -> None:
    assert sign_in(client, next=place).headers["location"] == "/"
    assert "evil" not in client.get("/login", params={"next": place}).text


def test_what_the_sign_in_page_is_told_is_not_markup(client: TestClient) -> None:
    assert "<script" not in client.get("/login", params={"next": '/"><script>'}).text


def test_a_session_ends_with_its_key(client: TestClient, redis: Redis) -> None:
    sign_in(client, BOB)
    with served(redis, Settings(api_keys=(f"ann:{ANN}",))) as later:
        later.cookies.update(client.cookies)
        assert later.get("/models").status_code == 401


@pytest.mark.parametrize("token", ["", "x", "../../x", "*" * 43, "A" * 43, "é" * 43, "\ud800"])
def test_a_made_up_session_is_401(client: TestClient, token: str) -> None:
    raw = b"mlxq_session=" + token.encode(errors="surrogatepass")
    assert client.get("/models", headers={"cookie": raw}).status_code == 401


@pytest.mark.parametrize(
    ("says", "status"),
    [({"origin": "http://127.0.0.1"}, 200), ({"sec-fetch-site": "same-origin"}, 200), ({}, 403),
     ({"origin": "https://chat.example"}, 403), ({"origin": "http://127.0.0.1:9000"}, 403), ({"origin": "null"}, 403),
     ({"sec-fetch-site": "same-site"}, 403), ({"sec-fetch-site": "cross-site"}, 403)],
)  # fmt: skip
def test_a_cookie_changes_things_from_our_own_pages_only(
    client: TestClient, says: Any, status: int
) -> None:
    sign_in(client)
    assert client.post(f"{CHAT}/stop", headers=says).status_code == status


def test_one_who_has_not_said_who_it_is_sends_no_long_body(client: TestClient) -> None:
    pieces = (b"x" * 1000 for _ in range(10))
    for content in (b"key=" + b"x" * 5000, pieces):
        assert client.post("/login", content=content).status_code == 413  # type: ignore[arg-type]


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
def test_names_of_this_machine_and_allowed_ones_are_taken(
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
