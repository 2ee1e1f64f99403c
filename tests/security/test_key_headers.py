"""Keys in the headers of other APIs' clients, beside Authorization."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.api_support import announce
from tests.support.fake_api import fake_api, fake_redis
from wire.settings import Settings

ANN, BOB, ODD = "ann-0123456789abcdef", "bob-0123456789abcdef", "schlüssel-鍵-0123456789"
DIGEST = hashlib.sha256(BOB.encode()).hexdigest()
CHAT = "/api/engine/chat"


def bearer(key: str) -> dict[str, Any]:
    return {"authorization": b"Bearer " + key.encode()}


def served(settings: Settings) -> TestClient:
    redis = fake_redis()
    announce(redis)
    return TestClient(fake_api(redis, settings))


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    named = (f"ann:{ANN}", f"bob:sha256:{DIGEST}", f"odd:{ODD}")
    with served(Settings(api_keys=named, cors_origins=("https://chat.example",))) as client:
        yield client


@pytest.fixture(scope="module")
def without_keys() -> Iterator[TestClient]:
    with served(Settings()) as client:
        yield client


@pytest.mark.parametrize("header", ["x-api-key", "api-key"])
@pytest.mark.parametrize(("key", "owner"), [(ANN, "ann"), (BOB, "bob"), (ODD, "odd")])
def test_other_clients_headers_for_keys_do_as_well(
    client: TestClient, header: str, key: str, owner: str
) -> None:
    for sent in ({header: key.encode()}, {header: key.encode(), **bearer(key)}):
        answer = client.get("/api/engine/session", headers=sent)
        assert answer.json()["owner"] == owner


@pytest.mark.parametrize("header", ["x-api-key", "api-key"])
@pytest.mark.parametrize(
    "key",
    [
        b"",
        b" ",
        b"wrong-0123456789abcdef",
        b"Bearer " + ANN.encode(),
        DIGEST.encode(),
        b"\xff\xfe",
        b"x" * 9999,
    ],
)
def test_a_wrong_key_there_is_401_and_never_echoed(
    client: TestClient, header: str, key: bytes
) -> None:
    answer = client.get("/models", headers={header: key})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert len(answer.content) <= 1024


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", f"Bearer {ANN}"), ("x-api-key", BOB)],
        [("authorization", f"Bearer {ANN}"), ("api-key", "none")],
        [("x-api-key", ANN), ("api-key", BOB)],
        [("x-api-key", ANN), ("x-api-key", BOB)],
        [("authorization", f"Bearer {ANN}"), ("authorization", f"Bearer {BOB}")],
    ],
)
def test_different_keys_in_one_request_are_refused_by_name(
    client: TestClient, headers: list[tuple[str, str]]
) -> None:
    answer = client.get("/models", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert "X-Api-Key" in answer.json()["detail"]
    assert not any(key in answer.text for key in (ANN, BOB))


def test_a_proxys_own_authorization_leaves_room_for_a_key(client: TestClient) -> None:
    headers = {"authorization": "Basic YTpi", "x-api-key": ANN}
    assert client.get("/api/engine/session", headers=headers).json()["owner"] == "ann"


def test_a_key_in_any_header_needs_no_page_of_ours_to_change_things(client: TestClient) -> None:
    assert client.post(f"{CHAT}/stop", headers={"x-api-key": ANN}).status_code == 200


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_pages_of_named_origins_may_send_a_key_in_any_of_the_headers(
    client: TestClient, header: str
) -> None:
    asked = {"origin": "https://chat.example", "access-control-request-method": "POST"}
    answer = client.options(
        CHAT, headers=asked | {"access-control-request-headers": f"content-type,{header}"}
    )
    assert answer.status_code == 200
    assert header in answer.headers["access-control-allow-headers"]


def test_the_description_says_how_a_key_is_sent(
    client: TestClient, without_keys: TestClient
) -> None:
    with_them = client.get("/openapi.json", headers=bearer(ANN)).json()
    schemes = with_them["components"]["securitySchemes"]
    assert {scheme.get("name", scheme.get("scheme")) for scheme in schemes.values()} == {
        "bearer",
        "X-Api-Key",
        "Api-Key",
    }
    assert with_them["security"] == [{name: []} for name in schemes]
    assert [
        path
        for path, operations in with_them["paths"].items()
        if operations.get("get", {}).get("security") == []
    ] == [
        "/health",
        "/ready",
    ]
    assert "security" not in without_keys.get("/openapi.json").json()
