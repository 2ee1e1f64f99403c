"""What the chat route accepts and refuses, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.http.body_routes import MAX_BODY
from tests.support.api_support import FakeWorker, announce, chat_body, message
from tests.support.fake_api import fake_api, fake_redis
from wire.messages import ChatJob

CHAT = "/api/engine/chat"
JSON = {"content-type": "application/json"}


class Api:
    """A client, and the fake worker that receives accepted jobs."""

    def __init__(self, client: TestClient, worker: FakeWorker, redis: Redis) -> None:
        self.client, self.worker, self.redis = client, worker, redis

    def accepted(self, body: dict[str, object]) -> ChatJob:
        response = self.client.post(CHAT, json=body)
        assert response.status_code == 200, response.text
        job = self.worker.seen[-1]
        assert isinstance(job, ChatJob)
        return job

    def refused(
        self, body: object = None, raw: bytes | None = None, status: int = 422
    ) -> dict[str, Any]:
        content = json.dumps(body).encode() if raw is None else raw
        response = self.client.post(CHAT, content=content, headers=JSON)
        assert response.status_code == status, response.text
        assert len(response.content) <= 1024
        assert not self.worker.seen
        answer: dict[str, Any] = response.json()
        assert set(answer) == {"detail", "code", "errors"}
        return answer


@pytest.fixture(scope="module")
def running() -> Iterator[Api]:
    redis = fake_redis()
    announce(redis)
    with TestClient(fake_api(redis)) as client, FakeWorker(redis).running() as worker:
        yield Api(client, worker, redis)


@pytest.fixture
def api(running: Api) -> Api:
    running.worker.seen.clear()
    return running


def test_defaults_are_those_of_the_contract(api: Api) -> None:
    sampling = api.accepted(chat_body()).sampling
    assert sampling.model_dump(exclude={"seed"}) == {
        "temperature": 0.7,
        "max_tokens": 512,
        "top_p": 0.9,
        "repetition_penalty": 1.1,
        "stop": (),
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    assert 0 <= sampling.seed < 2**63


def test_unseeded_requests_get_different_seeds(api: Api) -> None:
    assert (
        api.accepted(chat_body(seed=None)).sampling.seed != api.accepted(chat_body()).sampling.seed
    )


@pytest.mark.parametrize("wanted", ["model-1", "Tiny Chat", "someone/tiny-chat"])
def test_a_model_is_known_by_id_name_and_repository(api: Api, wanted: str) -> None:
    job = api.accepted(chat_body() | {"model_id": wanted})
    assert (job.model_id, job.model_revision) == ("model-1", "r1")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0),
        ("temperature", 2.0),
        ("max_tokens", 1),
        ("max_tokens", 32768),
        ("max_tokens", 9.0),
        ("top_p", 0.0),
        ("top_p", 1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 5.0),
        ("seed", 0),
        ("seed", 2**63 - 1),
        ("seed", 1.0),
    ],
)
def test_the_ends_of_every_range_are_accepted(api: Api, field: str, value: float) -> None:
    assert getattr(api.accepted(chat_body(**{field: value})).sampling, field) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_id", ""),
        ("model_id", "m" * 256),
        ("model_id", 7),
        ("model_id", None),
        ("messages", []),
        ("messages", "Hello"),
        ("messages", None),
        ("temperature", -0.01),
        ("temperature", 2.01),
        ("temperature", "0.7"),
        ("temperature", None),
        ("temperature", True),
        ("max_tokens", 0),
        ("max_tokens", 32769),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("top_p", -0.1),
        ("top_p", 1.1),
        ("repetition_penalty", -0.1),
        ("repetition_penalty", 5.1),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 1.5),
        ("on_disconnect", "wait"),
        ("stream_options", {"include_usage": 1}),
        ("stream_options", {"include_cost": True}),
    ],
)
def test_what_is_out_of_range_or_of_another_type_is_refused_by_name(
    api: Api, field: str, value: object
) -> None:
    answer = api.refused(chat_body(**{field: value}))
    assert answer["code"] == "invalid_request"
    assert answer["errors"][0].startswith(f"body -> {field}")


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_are_none_are_refused(api: Api, value: bytes) -> None:
    raw = (
        b'{"model_id": "m", "messages": [{"role": "user", "content": "x"}], "temperature": '
        + value
        + b"}"
    )
    assert "temperature" in api.refused(raw=raw)["errors"][0]


@pytest.mark.parametrize("missing", ["model_id", "messages"])
def test_required_fields_are_required(api: Api, missing: str) -> None:
    body = chat_body()
    del body[missing]
    assert api.refused(body)["errors"] == [f"body -> {missing}: Field required"]


def test_an_unknown_field_is_refused_by_name(api: Api) -> None:
    assert "body -> web_search" in api.refused(chat_body(web_search=True))["errors"][0]


def test_an_unknown_model_is_404(api: Api) -> None:
    assert api.refused(chat_body() | {"model_id": "other"}, status=404)["code"] == "model_not_found"


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_roles_are_kept(api: Api, role: str) -> None:
    [kept] = api.accepted(chat_body(messages=[message("a", role)])).messages
    assert kept.role == role


def test_developer_is_treated_as_system(api: Api) -> None:
    assert (
        api.accepted(chat_body(messages=[message("a", "developer")])).messages[0].role == "system"
    )


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_what_an_assistant_thought_is_kept_and_nobody_else_has_thought(api: Api, name: str) -> None:
    turns = [message("a"), message("b", "assistant") | {name: "Hm."}, message("c")]
    assert api.accepted(chat_body(messages=turns)).messages[1].reasoning == "Hm."
    api.worker.seen.clear()
    turns[0][name] = "Hm."
    [error] = api.refused(chat_body(messages=turns))["errors"]
    assert "only a message of role assistant has reasoning" in error


def test_another_role_is_refused(api: Api) -> None:
    assert "role" in api.refused(chat_body(messages=[message("a", "robot")]))["errors"][0]


def test_text_parts_are_one_text(api: Api) -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert (
        api.accepted(chat_body(messages=[{"role": "user", "content": parts}])).messages[0].content
        == "Hello"
    )


@pytest.mark.parametrize(
    "content", [None, 5, [], ["x"], [{"type": "video"}], [{"type": "text"}], {"type": "text"}]
)
def test_content_of_another_shape_is_refused(api: Api, content: object) -> None:
    assert (
        "content"
        in api.refused(chat_body(messages=[{"role": "user", "content": content}]))["errors"][0]
    )


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\udfff tail"])
def test_broken_text_is_refused(api: Api, text: str) -> None:
    assert "content" in api.refused(chat_body(messages=[message(text)]))["errors"][0]


@pytest.mark.parametrize("text", ["", "é 😀 \u202e", "line\nline\ttab\x01", "<|im_end|>"])
def test_any_other_text_arrives_as_it_was(api: Api, text: str) -> None:
    assert api.accepted(chat_body(messages=[message(text)])).messages[0].content == text


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[" * 15_000,
        b'{"model_id": ' + b"1" * 5000 + b"}",
        b"\xff\xfe",
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_broken_json_is_a_bad_request(api: Api, raw: bytes) -> None:
    answer = api.refused(raw=raw, status=422 if raw == b"" else 400)
    assert answer["code"] == ("invalid_request" if raw == b"" else "bad_request")


def test_a_surrogate_in_a_field_name_can_be_reported(api: Api) -> None:
    api.refused(raw=b'{"model_id": "m", "messages": [], "\\ud800": 1}')


def test_errors_never_echo_a_large_field_or_its_name(api: Api) -> None:
    canary = "canary" * 900_000
    for body in (
        chat_body(temperature=canary),
        chat_body(**{canary: 1}),
        chat_body(messages=[message(role=canary)]),
    ):
        answer = json.dumps(api.refused(body))
        assert "canary" * 20 not in answer


def test_many_errors_fit_into_one_kilobyte(api: Api) -> None:
    fields = {f"{'ü' * 60}{number}": number for number in range(40)}
    assert api.refused(chat_body(**fields))["errors"]


def test_of_many_wrong_things_only_the_first_is_looked_at(api: Api) -> None:
    assert len(api.refused(chat_body(messages=[1] * 15_000))["errors"]) == 1
    assert len(api.refused({str(number): number for number in range(9_000)})["errors"]) == 1


def test_a_body_over_the_limit_is_413(api: Api) -> None:
    declared = api.client.post(
        CHAT, content=b"{}", headers=JSON | {"content-length": str(MAX_BODY + 1)}
    )
    pieces = (b" " * (1 << 20) for _ in range((MAX_BODY >> 20) + 1))
    chunked = api.client.post(CHAT, content=pieces, headers=JSON)
    for response in (declared, chunked):
        assert (response.status_code, response.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_415(api: Api, kind: str) -> None:
    response = api.client.post(
        CHAT, content=json.dumps(chat_body()).encode(), headers={"content-type": kind}
    )
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
