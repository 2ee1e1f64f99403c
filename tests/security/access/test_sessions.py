"""Signing in with a browser: sessions, their cookies, and the page for it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.security.access.keys import ANN, BOB, CHAT, served, sign_in
from wire import keys
from wire.settings import Settings


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
def test_a_wrong_key_on_the_page_is_reported_there(client: TestClient, key: str) -> None:
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


def test_parameters_of_the_sign_in_page_are_escaped(client: TestClient) -> None:
    page = client.get("/login", params={"next": '/"><script>alert(1)'}).text
    assert re.findall("<script[^>]*>", page) == ['<script src="/static/theme.js">']
    assert 'value="/&quot;&gt;&lt;script&gt;alert(1)"' in page


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


def test_a_client_without_a_key_sends_no_long_body(client: TestClient) -> None:
    pieces = (b"x" * 1000 for _ in range(10))
    for content in (b"key=" + b"x" * 5000, pieces):
        assert client.post("/login", content=content).status_code == 413  # type: ignore[arg-type]
