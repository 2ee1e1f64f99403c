"""Which of Anthropic's requests are refused, and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.error_shapes import anthropic as shape
from api.errors import STATUS, ApiError
from tests.unit.api.anthropic.messages_api import (
    CALL,
    CLOCK,
    MESSAGES,
    RESULT,
    AnthropicApi,
    assistant,
    user,
)
from wire.messages import Failed, too_long


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"messages": []}, "messages: "),
        ({"max_tokens": 0}, "max_tokens: "),
        ({"max_tokens": None}, "max_tokens: "),
        (
            {"messages": [user([{"type": "video"}])]},
            "messages.0.content.0: Input should have a type of ",
        ),
        ({"messages": [user([])]}, "messages.0.content: "),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: "),
        (
            {"messages": [user([RESULT])]},
            "messages.0.content.0.tool_use_id: unexpected `tool_use_id`",
        ),
        (
            {"messages": [user(), assistant(CALL), user()]},
            "messages.1: `tool_use` ids were found without",
        ),
        ({"messages": [user(), assistant(CALL)]}, "messages.1: `tool_use` ids were found without"),
        (
            {"messages": [user(), assistant(CALL), user([RESULT | {"tool_use_id": "other"}])]},
            "messages.2.content.0.tool_use_id: unexpected",
        ),
        (
            {"messages": [user(), assistant(CALL), user([RESULT, RESULT])]},
            "messages.2.content.1.tool_use_id: ",
        ),
        (
            {"messages": [user(), assistant(CALL, CALL), user([RESULT])]},
            "messages.1.content.1.id: ",
        ),
        (
            {"messages": [user(), assistant(CALL | {"name": "n" * 200}), user([RESULT])]},
            "messages.1.content.0.name: ",
        ),
        (
            {"messages": [user(), assistant(CALL | {"id": "n" * 300}), user([RESULT])]},
            "messages.1.content.0.id: ",
        ),
        ({"messages": [user([CALL])]}, "messages.0.content.0.type: "),
        ({"messages": [user(), assistant(RESULT)]}, "messages.1.content.0.type: "),
        ({"tools": [CLOCK | {"name": "n" * 200}]}, "tools.0.name: "),
        ({"tools": [CLOCK | {"name": "two words"}]}, "tools.0.name: "),
        ({"tools": [CLOCK, CLOCK]}, "tools.1.name: Tool names must be unique."),
        ({"tools": [{"name": "clock"}]}, "tools.0.input_schema: Field required"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: "),
        ({"tools": [CLOCK], "tool_choice": {"type": "tool", "name": "bell"}}, "tool_choice: "),
        ({"tools": [CLOCK], "tool_choice": {"type": "perhaps"}}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "thinking.budget_tokens: "),
        ({"thinking": {"type": "sometimes"}}, "thinking: "),
        ({"temperature": "hot"}, "temperature: "),
        ({"top_k": -2}, "top_k: "),
        ({"stop_sequences": "END"}, "stop_sequences: "),
        ({"thread": {"id": "x"}}, "thread: "),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": 7}}}},
            "output_config.format: ",
        ),
        ({"system": [{"type": "image"}]}, "system.0.type: "),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    api: AnthropicApi, sent: dict[str, Any], said: str
) -> None:
    message = api.refused(400, **sent)
    assert message.startswith(said), message
    assert "n" * 100 not in message


def test_clients_that_ask_for_a_thread_are_told_to_go_on_without(api: AnthropicApi) -> None:
    sent = {"model": "m", "max_tokens": 1, "messages": [user()], "thread": {"type": "create"}}
    error = api.client.post(MESSAGES, json=sent).json()["error"]
    assert error["details"] == {
        "error_code": "thread_unsupported_request",
        "unsupported": ["thread"],
    }
    assert "details" not in api.client.post(MESSAGES, json={"model": "m"}).json()["error"]


def test_a_body_that_is_no_json_and_one_of_another_type(api: AnthropicApi) -> None:
    for content, kind in ((b"{", "application/json"), (b"{}", "text/plain")):
        response = api.client.post(MESSAGES, content=content, headers={"Content-Type": kind})
        assert response.status_code in (400, 415)
        assert response.json()["error"]["type"] == "invalid_request_error"


def test_an_address_below_is_not_found_in_the_same_shape(api: AnthropicApi) -> None:
    response = api.client.get(f"{MESSAGES}/batches")
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("path", ["/v1/files", "/v1/files/file-1/content", "/v1/complete"])
def test_addresses_of_openai_answer_anthropics_client_in_its_shape(
    api: AnthropicApi, path: str
) -> None:
    answer = api.client.get(path, headers={shape.VERSION_HEADER: "2023-06-01"})
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"
    assert "not served here" in answer.json()["error"]["message"]


def test_a_body_that_is_too_large(api: AnthropicApi) -> None:
    assert api.refused(413, "request_too_large", messages=[user("a" * (7 << 20))])


def test_an_unknown_model(api: AnthropicApi) -> None:
    said = api.refused(404, "not_found_error", model="nothing")
    assert said.startswith("model: No model of this id or name is registered.")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("unauthorized", 401, "authentication_error"),
        ("forbidden", 403, "permission_error"),
        ("queue_full", 429, "rate_limit_error"),
        ("busy", 429, "rate_limit_error"),
        ("no_worker", 529, "overloaded_error"),
        ("redis_unavailable", 529, "overloaded_error"),
        ("internal_error", 500, "api_error"),
        ("engine_failed", 500, "api_error"),
        ("job_timeout", 504, "timeout_error"),
        ("expired", 410, "not_found_error"),
        ("conflict", 409, "invalid_request_error"),
    ],
)
def test_codes_have_anthropics_types(code: Any, status: int, kind: str) -> None:
    error = ApiError(code, "No.")
    assert error.anthropic_status == status
    body = error.anthropic("r1")
    assert (body["error"], body["request_id"]) == ({"type": kind, "message": "No."}, "r1")


def test_every_code_has_a_status_that_a_client_knows() -> None:
    for code in STATUS:
        error = ApiError(code, "No.")
        known = error.anthropic_status in (400, 401, 403, 404, 405, 409, 410, 413, 415, 429)
        assert known or error.anthropic_status in (500, 504, 529), code


def test_a_prompt_that_is_too_long_is_told_in_the_words_that_agents_look_for(
    api: AnthropicApi,
) -> None:
    api.worker.answer = lambda _: [Failed("prompt_too_long", too_long(2048, 3000, 1948))]
    for stream in (False, True):
        response = api.post(stream=stream)
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"].startswith("prompt is too long: 3000 tokens > 2048 maximum. ")


def test_a_long_sentence_is_cut() -> None:
    body = shape.body("bad_prompt", 400, "é" * 5000, None, "r" * 32)
    assert len(json.dumps(body)) < 1024


def test_a_retry_is_told_when_to_come() -> None:
    answer = ApiError("queue_full", "Full.", retry_after=7).response()
    assert answer.headers["retry-after"] == "7"
