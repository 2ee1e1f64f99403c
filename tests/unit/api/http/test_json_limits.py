"""Long JSON: its values are counted before it is parsed, outside of the event loop, and errors are
those of short JSON."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.batches.upload import MOST_LINES
from api.http import body_routes, json_limits
from api.http.body_routes import MAX_BODY, MAX_TEXT, MOST_BATCH_VALUES, MOST_TOKEN_IDS
from api.http.json_limits import LONG, MOST_VALUES, JsonReader, values_in
from tests.support.api_support import FakeWorker, announce, chat_body, message
from tests.support.fake_api import fake_api, fake_redis

CHAT, OPENAI, COMPLETION, BATCH = (
    "/api/engine/chat",
    "/v1/chat/completions",
    "/v1/completions",
    "/api/engine/batches",
)
JSON = {"content-type": "application/json"}
PADDING = b" " * LONG


class Api:
    def __init__(self, client: TestClient, worker: FakeWorker) -> None:
        self.client, self.worker = client, worker

    def post(self, path: str, body: Any, kind: dict[str, str] = JSON) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.client.post(path, content=content, headers=kind)
        assert answer.status_code < 500
        is_json = answer.headers["content-type"] == "application/json"
        return answer.status_code, answer.json() if is_json else answer.text


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    redis = fake_redis()
    announce(redis)
    with TestClient(fake_api(redis)) as client, FakeWorker(redis).running() as worker:
        yield Api(client, worker)


def plain_count(body: bytes) -> int:
    """The same count by a simpler algorithm: strings are cut out first."""
    rest, texts = re.subn(rb'"(?:[^"\\]|\\.)*"', b"", body, flags=re.DOTALL)
    return 1 + texts + sum(rest.count(mark) for mark in (b",", b"[", b"{"))


def made_up(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(4 if depth > 3 else 6)
    if kind < 2:
        return "".join(chance.choices('a\\"[{,:}]é\n', k=chance.randrange(12)))
    if kind < 4:
        return chance.choice([None, True, -1.5e3, 7])
    values = [made_up(chance, depth + 1) for _ in range(chance.randrange(6))]
    return values if kind == 4 else {f'{place}"\\,': value for place, value in enumerate(values)}


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64 << 10])
def test_values_are_counted_whatever_is_in_texts_and_wherever_a_step_ends(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_limits, "STEP", step)
    chance = random.Random(2026)
    for _ in range(200):
        body = json.dumps(made_up(chance), ensure_ascii=False).encode()
        assert values_in(body, 10**9) == plain_count(body)


def test_beyond_the_most_the_rest_is_not_looked_at() -> None:
    # Each step reads 64 KiB: after the second one there are too many.
    assert values_in(b"[" * (8 << 20), 70_000) == 1 + 2 * json_limits.STEP


@pytest.mark.parametrize(
    "broken", [b'"', b'"\\', b"\\", b'["\\"', b'"' * 999, b"", b"\xff" * 99, b'"' + b"\\" * 999]
)
@pytest.mark.parametrize("step", [1, 2, 64 << 10])
def test_counting_ends_with_anything(
    broken: bytes, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_limits, "STEP", step)
    assert values_in(broken, 10**9) <= 1 + len(broken)


def hostile() -> Iterator[tuple[str, bytes]]:
    for path, most in ((CHAT, MOST_VALUES), (OPENAI, MOST_VALUES), (COMPLETION, MOST_TOKEN_IDS)):
        for value in (b"[]", b"0", b'""', b'{"role":"","content":""}'):
            inside = b",".join([value] * (most + 1 if len(value) < 3 else most // 4))
            yield path, b'{"model_id":"model-1","model":"model-1","messages":[' + inside + b"]}"
    yield (
        BATCH,
        b'{"model_id":"model-1","prompts":[' + b"[],".ljust(3) * (MOST_BATCH_VALUES // 2) + b"[]]}",
    )
    yield CHAT, b"[" * (MOST_VALUES + 1)
    yield OPENAI, b'{"a":' * (MOST_VALUES + 1)


def test_bodies_of_very_many_values_are_refused_before_anything_parses_them(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(*_: object, **__: object) -> Any:
        raise AssertionError("the body was parsed")

    refusals = [
        (path, api.client.build_request("POST", path, content=body, headers=JSON))
        for path, body in hostile()
    ]
    api.worker.settle()
    api.worker.seen.clear()
    monkeypatch.setattr(json, "loads", parse)
    monkeypatch.setattr(json_limits, "from_json", parse)
    answers = [(path, api.client.send(request)) for path, request in refusals]
    monkeypatch.undo()
    for path, answer in answers:
        refusal = answer.json()
        assert answer.status_code == 413, path
        assert "values" in (
            refusal["error"]["message"] if path.startswith("/v1") else refusal["detail"]
        )
    assert not api.worker.seen


def test_as_many_values_as_there_may_be_are_served(api: Api) -> None:
    messages = [message("a")] * (MOST_VALUES // 7 - 5)
    assert api.post(CHAT, chat_body(messages=messages))[0] == 200
    assert len(api.worker.seen[-1].messages) == len(messages)  # type: ignore[union-attr]


def test_a_batch_has_room_for_as_many_prompts_as_it_may_have() -> None:
    prompts = [{"custom_id": "a", "prompt": "b", "max_tokens": 1}] * MOST_LINES
    assert (
        values_in(json.dumps({"model_id": "model-1", "prompts": prompts}).encode(), 10**9)
        < MOST_BATCH_VALUES
    )


def test_a_million_characters_written_as_escapes_are_not_too_large(api: Api) -> None:
    body = json.dumps(chat_body(messages=[message("中" * 1_000_000)])).encode()
    assert len(body) < MAX_TEXT
    assert api.post(CHAT, body)[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/models/load", "/models/register", f"{CHAT}/stop", "/v1/batches", "/login"],
)
def test_where_nothing_long_is_wanted_a_long_body_is_413(api: Api, path: str) -> None:
    pieces = (b" " * 4096 for _ in range(64))
    for content in (b" " * (LONG + 1), pieces):
        answer = api.client.post(path, content=content, headers=JSON)  # type: ignore[arg-type]
        assert answer.status_code == 413


def test_a_long_body_is_counted_parsed_and_judged_one_at_a_time_beside_the_event_loop(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[str, str]] = set()

    def watched(place: Any, name: str) -> None:
        real = getattr(place, name)

        def watching(*args: Any) -> Any:
            seen.add((name, threading.current_thread().name))
            return real(*args)

        monkeypatch.setattr(place, name, watching)

    for place, name in (
        (body_routes, "values_in"),
        (json_limits, "from_json"),
        (json_limits, "_validated"),
    ):
        watched(place, name)
    for path, body in (
        (CHAT, chat_body(messages=[message("a" * LONG)])),
        (OPENAI, {"model": "model-1", "messages": [message("a" * LONG)], "stream": False}),
        (COMPLETION, {"model": "model-1", "prompt": "a" * LONG}),
        (BATCH, {"model_id": "model-1", "prompts": ["a" * LONG]}),
    ):
        seen.clear()
        assert api.post(path, body)[0] == 200
        steps = ("values_in", "from_json", "_validated")
        assert seen == {(name, "AnyIO worker thread") for name in steps}
    reader: JsonReader = api.client.app.state.services[JsonReader]  # type: ignore[attr-defined]
    assert reader.turn.total_tokens == 1


WRONG: list[tuple[str, Any]] = [
    (CHAT, {}),
    (CHAT, []),
    (CHAT, b"{"),
    (CHAT, b'{"model_id": "model-1" "messages": []}'),
    (CHAT, b"\xff\xfe"),
    (CHAT, chat_body(temperature=3)),
    (CHAT, chat_body(messages=[])),
    (CHAT, chat_body(messages=[message("a\0b")])),
    (CHAT, chat_body(messages=[message(role="robot"), message(role="robot")])),
    (CHAT, chat_body(messages=[{"role": "user", "content": [{"type": "text"}]}])),
    (CHAT, chat_body(web_search=True, seed="x")),
    (CHAT, chat_body(**{f"{number}": number for number in range(100)})),
    (CHAT, chat_body() | {"model_id": "other"}),
    (
        CHAT,
        chat_body(
            messages=[
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
            ]
        ),
    ),
    (OPENAI, {"model": "model-1"}),
    (OPENAI, {"model": "model-1", "messages": [message()], "n": 17}),
    (OPENAI, {"model": "model-1", "messages": [message()], "stop": ["x"] * 65}),
    (OPENAI, {"model": "model-1", "messages": [message() | {"tool_calls": [{}] * 200}]}),
    (OPENAI, {"model": "model-1", "messages": [message()], "response_format": {"type": "xml"}}),
    (COMPLETION, {"model": "model-1", "prompt": ["a", 1]}),
    (COMPLETION, {"model": "model-1", "prompt": ""}),
    (BATCH, {"model_id": "model-1", "prompts": []}),
    (BATCH, {"model_id": "model-1", "prompts": ["a"], "temperature": 3}),
    (BATCH, {"model_id": "model-1", "prompts": [[]], "messages": [message()]}),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_errors_of_a_long_body_are_those_of_a_short_one(api: Api, number: int) -> None:
    path, body = WRONG[number]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    short, long = api.post(path, content), api.post(path, content + PADDING)
    assert 400 <= short[0] < 500
    assert short == long


def test_a_long_body_of_another_type_is_refused_as_a_short_one_is(api: Api) -> None:
    for kind in ("text/plain", "application/vnd.api+json", "text/json", ""):
        body = json.dumps(chat_body()).encode()
        assert api.post(CHAT, body + PADDING, {"content-type": kind}) == api.post(
            CHAT, body, {"content-type": kind}
        )


def test_the_longest_hostile_bodies_are_refused_by_their_length_alone(api: Api) -> None:
    inside = b"[]," * (20_000_000 // 3)
    assert MAX_TEXT < len(inside) < MAX_BODY
    status, refusal = api.post(CHAT, b'{"messages":[' + inside + b"[]]}")
    assert (status, refusal["code"]) == (413, "too_large")
