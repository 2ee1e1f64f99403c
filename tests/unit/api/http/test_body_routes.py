"""A body has the limit of the route that serves it; without a route the error is about the
address."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.http.body_limits import SMALL
from api.http.body_routes import MAX_BODY
from tests.support import picture_files as files
from tests.support.api_support import FakeWorker, announce, chat_body, message
from tests.support.fake_api import fake_api, fake_redis
from tests.support.image_support import body as with_images

JSON = {"content-type": "application/json"}
OPENAI = "/v1/chat/completions"
LONG = json.dumps({"model": "model-1", "messages": [message("a" * 100_000)]}).encode()
PICTURE = json.dumps(with_images(files.url(files.saved(files.noise((300, 300)))))).encode()
BODIES = [b"{}", LONG, PICTURE, b" " * (MAX_BODY + 1)]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    redis = fake_redis()
    announce(redis)
    with TestClient(fake_api(redis)) as client, FakeWorker(redis).running():
        yield client


@pytest.mark.parametrize("body", BODIES, ids=["short", "long", "picture", "too long for any route"])
@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", f"{OPENAI}/", 307),
        ("POST", "/api/engine/chat/", 307),
        ("POST", f"/{OPENAI}", 404),
        ("POST", "/chat/completions", 404),
        ("POST", "/v1/moderations", 404),
        ("PUT", OPENAI, 405),
        ("GET", OPENAI, 405),
        ("POST", "/health", 405),
        ("POST", "/static/nowhere", 405),
    ],
)
def test_a_wrong_address_is_404_whatever_the_length_of_the_body(
    client: TestClient, method: str, path: str, status: int, body: bytes, in_pieces: bool
) -> None:
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    answer = client.request(
        method,
        path,
        content=pieces if in_pieces else body,  # type: ignore[arg-type]
        headers=JSON,
        follow_redirects=False,
    )
    assert answer.status_code == status


def test_a_slash_too_many_works_for_long_conversations_as_for_short_ones(
    client: TestClient,
) -> None:
    for text in ("a", "a" * 100_000):
        answer = client.post(f"{OPENAI}/", json={"model": "model-1", "messages": [message(text)]})
        assert (answer.status_code, answer.json()["object"]) == (200, "chat.completion")


def test_only_an_unread_long_body_ends_the_connection(client: TestClient) -> None:
    connections = [
        client.post("/nowhere", content=body).headers.get("connection") for body in (b"{}", LONG)
    ]
    served = client.post(OPENAI, content=LONG, headers=JSON)
    assert connections == [None, "close"]
    assert served.status_code == 200
    assert "connection" not in served.headers


def test_a_route_that_declares_no_limit_takes_little(client: TestClient) -> None:
    for path, refused in (
        ("/models/load", 422),
        ("/api/engine/chat/stop", 422),
        ("/v1/batches", 400),
    ):
        fits = client.post(path, content=b"{".ljust(SMALL - 1) + b"1", headers=JSON)
        over = client.post(path, content=b"{".ljust(SMALL) + b"1", headers=JSON)
        assert fits.status_code in (400, refused)
        assert over.status_code == 413


def test_a_stream_that_is_asked_for_with_a_long_body_is_served_without_it(
    client: TestClient,
) -> None:
    job = client.post("/api/engine/chat", json=chat_body()).headers["x-job-id"]
    again = client.request("GET", f"/api/engine/chat/{job}/events", content=LONG, headers=JSON)
    assert again.status_code == 200
    assert again.text.count('"done": true') == 1


@pytest.mark.parametrize("text", ["a", "a" * (SMALL + 1)], ids=["short", "long"])
@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"],
)
def test_json_may_begin_with_a_byte_order_mark_and_name_its_charset(
    client: TestClient, text: str, kind: str
) -> None:
    for path, sent in (
        ("/api/engine/chat", chat_body(messages=[message(text)])),
        (OPENAI, {"model": "model-1", "messages": [message(text)]}),
    ):
        content = b"\xef\xbb\xbf" + json.dumps(sent).encode()
        assert client.post(path, content=content, headers={"content-type": kind}).status_code == 200


@pytest.mark.parametrize(
    "accepted", ["application/json", "text/event-stream", "*/*", "text/plain", ""]
)
def test_a_stream_is_a_stream_whatever_the_client_says_it_accepts(
    client: TestClient, accepted: str
) -> None:
    # OpenAI's clients accept application/json for streams, too.
    sent = {"model": "model-1", "messages": [message()], "stream": True}
    answer = client.post(OPENAI, json=sent, headers={"accept": accepted})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("body", BODIES[:2], ids=["short", "long"])
@pytest.mark.parametrize("path", [OPENAI, "/api/engine/chat", "/v1/files"])
def test_a_compressed_body_is_refused_by_its_header(
    client: TestClient, path: str, body: bytes
) -> None:
    answer = client.post(
        path, content=gzip.compress(body), headers=JSON | {"content-encoding": "gzip"}
    )
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.text


def test_a_body_may_say_that_it_is_not_compressed(client: TestClient) -> None:
    body = {"model": "model-1", "messages": [message("a")]}
    assert client.post(OPENAI, json=body, headers={"content-encoding": "identity"}).is_success
