"""An error names the field as the client wrote it, in both APIs, in short bodies, long ones and
lines of batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.batches.lines import LineParser, parse_line
from api.batches.routes import read
from api.http.json_limits import LONG
from api.openai.batches.batch_lines import CHAT, ENDPOINTS
from tests.support.api_support import announce
from tests.support.fake_api import fake_api, fake_redis
from wire.batches import LineResult

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    redis = fake_redis()
    announce(redis)
    with TestClient(fake_api(redis)) as client:
        yield client


def content(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def user_message(text: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


BOTH: list[tuple[dict[str, Any], list[str | int]]] = [
    (content({"type": "text", "text": 5}), ["messages", 0, "content", 0, "text"]),
    (content({"type": "text"}), ["messages", 0, "content", 0, "text"]),
    (content({"type": "text", "text": "a\0"}), ["messages", 0, "content", 0, "text"]),
    (
        content({"type": "image_url", "image_url": {"url": 5}}),
        ["messages", 0, "content", 0, "image_url", "url"],
    ),
    (
        content({"type": "image_url", "image_url": {}}),
        ["messages", 0, "content", 0, "image_url", "url"],
    ),
    (content({"type": "image_url"}), ["messages", 0, "content", 0, "image_url"]),
    (content({"type": "image_url", "image_url": 5}), ["messages", 0, "content", 0, "image_url"]),
    (content({"type": "video"}), ["messages", 0, "content", 0]),
    (content(5), ["messages", 0, "content", 0]),
    (user_message("a\0"), ["messages", 0, "content"]),
    (user_message(5), ["messages", 0, "content"]),
    ({"messages": [{"role": "robot", "content": "a"}]}, ["messages", 0, "role"]),
    ({"messages": "a"}, ["messages"]),
    ({"messages": ["a"]}, ["messages", 0]),
    (user_message("a") | {"temperature": "a"}, ["temperature"]),
    (user_message("a") | {"logit_bias": {"5": 101}}, ["logit_bias", "5"]),
    (user_message("a") | {"logit_bias": {"a": 1}}, ["logit_bias", "a"]),
    (user_message("a") | {"stop_token_ids": [1, 1.5]}, ["stop_token_ids", 1]),
]
OPENAI: list[tuple[dict[str, Any], list[str | int]]] = [
    (user_message("a") | {"model": 5}, ["model"]),
    (user_message("a") | {"model": ["a"]}, ["model"]),
    (
        user_message("a")
        | {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
        ["response_format", "json_schema", "schema"],
    ),
    (
        user_message("a") | {"response_format": {"type": "json_schema", "json_schema": {}}},
        ["response_format", "json_schema", "schema"],
    ),
    (
        user_message("a") | {"response_format": {"type": "json_schema"}},
        ["response_format", "json_schema"],
    ),
    (user_message("a") | {"response_format": {"type": "xml"}}, ["response_format"]),
    (user_message("a") | {"stop": "a\0"}, ["stop"]),
    (user_message("a") | {"stop": ["a", "a\0"]}, ["stop", 1]),
    (
        user_message("a") | {"stream_options": {"include_usage": "yes"}},
        ["stream_options", "include_usage"],
    ),
    (user_message("a") | {"tool_choice": "any"}, ["tool_choice"]),
    (
        user_message("a") | {"tools": [{"type": "function", "function": {"name": 5}}]},
        ["tools", 0, "function"],
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}]},
        ["messages", 0, "tool_calls", 0, "function", "name"],
    ),
]
NATIVE: list[tuple[dict[str, Any], list[str | int]]] = [
    (user_message("a") | {"model_id": 5}, ["model_id"]),
    (
        content({"type": "image_url", "image_url": {"url": "a", "detail": "low"}}),
        ["messages", 0, "content", 0, "image_url", "detail"],
    ),
    (user_message("a") | {"stream_options": {"cost": True}}, ["stream_options", "cost"]),
]


def post(client: TestClient, path: str, body: dict[str, Any], padding: bytes) -> Any:
    sent = json.dumps(
        {"model" if path.startswith("/v1") else "model_id": "model-1"} | body
    ).encode()
    answer = client.post(path, content=sent + padding, headers=JSON)
    assert answer.status_code in (400, 422)
    return answer.json()


@pytest.mark.parametrize("padding", [b"", b" " * LONG], ids=["short", "long"])
@pytest.mark.parametrize(("body", "place"), BOTH + OPENAI)
def test_param_is_a_field_of_the_request(
    client: TestClient, body: dict[str, Any], place: list[str | int], padding: bytes
) -> None:
    wanted = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in place)[1:]
    assert post(client, "/v1/chat/completions", body, padding)["error"]["param"] == wanted


@pytest.mark.parametrize("padding", [b"", b" " * LONG], ids=["short", "long"])
@pytest.mark.parametrize(("body", "place"), BOTH + NATIVE)
def test_the_native_errors_name_the_same_fields(
    client: TestClient, body: dict[str, Any], place: list[str | int], padding: bytes
) -> None:
    errors = post(client, "/api/engine/chat", body, padding)["errors"]
    assert errors[0].startswith(" -> ".join(map(str, ["body", *place])) + ": ")


@pytest.mark.parametrize(("body", "place"), BOTH)
def test_so_do_lines_of_batches(body: dict[str, Any], place: list[str | int]) -> None:
    of_openai = {"method": "POST", "url": CHAT, "body": {"model": "m", **body}}
    for rules, row in (
        (LineParser([], read), {"model_id": "m", **body}),
        (LineParser([], ENDPOINTS[CHAT].read), of_openai),
    ):
        refused = parse_line(json.dumps({"custom_id": "a", **row}).encode(), 1, rules)
        assert isinstance(refused, LineResult)
        assert refused.error is not None
        assert refused.error[1].startswith(" -> ".join(map(str, place)) + ": ")


@pytest.mark.parametrize("padding", [b"", b" " * LONG], ids=["short", "long"])
def test_no_sentence_quotes_the_type_that_was_sent(client: TestClient, padding: bytes) -> None:
    body = content({"type": "secret"})
    told = [
        post(client, "/v1/chat/completions", body, padding)["error"]["message"],
        post(client, "/api/engine/chat", body, padding)["errors"][0],
    ]
    line = json.dumps({"custom_id": "a", "model_id": "m", **body}).encode()
    refused = parse_line(line, 1, LineParser([], read))
    assert isinstance(refused, LineResult)
    for sentence in (*told, str(refused.error)):
        assert "Input should have a type of 'text', " in sentence
        assert "secret" not in sentence
    untyped = post(client, "/api/engine/chat", content({}), padding)["errors"]
    assert untyped == ["body -> messages -> 0 -> content -> 0: Input should have a type"]
    wrong = post(client, "/api/engine/chat", user_message("a") | {"stream_options": 5}, padding)
    assert wrong["errors"] == ["body -> stream_options: Input should be an object"]


def test_what_members_of_a_union_say_alike_is_said_once(client: TestClient) -> None:
    errors = post(client, "/api/engine/chat", user_message("a") | {"on_disconnect": 5}, b"")[
        "errors"
    ]
    assert len(errors) == len(set(errors)) == 1


def test_parameters_of_the_address_keep_their_names(client: TestClient) -> None:
    assert client.get("/v1/files", params={"limit": "a"}).json()["error"]["param"] == "limit"
