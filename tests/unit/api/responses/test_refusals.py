"""Bad Responses requests: OpenAI's error shape, the field by name, and nothing echoed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.openai_support import TAKES_TOOLS, error
from tests.unit.api.responses.responses_support import (
    CLOCK,
    PATCH,
    ResponsesApi,
    body,
    call,
    output,
    read,
    user,
)
from wire.messages import Failed
from wire.model_registry import Registry

CANARY = "canary-7f3a"
CUSTOM = {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": ""}
CUSTOM_OUTPUT = {"type": "custom_tool_call_output", "call_id": "c1", "output": ""}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [{"type": CANARY}]}, "input[0]"),
        ({"input": [{"content": CANARY}]}, "input[0]"),
        ({"input": [[CANARY]]}, "input[0]"),
        ({"input": [{"type": ["message"], "role": "user"}]}, "input[0]"),
        ({"input": [{"type": "compaction", "encrypted_content": CANARY}]}, "input[0]"),
        ({"input": [user(), {"role": "oracle", "content": CANARY}]}, "input[1].role"),
        ({"input": [{"role": "user", "content": []}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": CANARY}]}]}, "input[0].content[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": CANARY}]}]},
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [user(), output(CANARY)]}, "input[1].call_id"),
        ({"input": [user(), call("c1"), output("c2")]}, "input[2].call_id"),
        ({"input": [user(), call("c1"), output("c1"), output("c1")]}, "input[3].call_id"),
        ({"input": [user(), call("c1"), call("c1")]}, "input[2].call_id"),
        ({"input": [user(), call("c1"), user()]}, "input[1].call_id"),
        ({"input": [user(), call("c1"), CUSTOM_OUTPUT]}, "input[2].call_id"),
        ({"input": [user(), CUSTOM, output("c1")]}, "input[2].call_id"),
        ({"input": [user(), call("x" * 257)]}, "input[1].call_id"),
        ({"input": [user(), call("c1", CANARY * 20)]}, "input[1].name"),
        ({"input": [user(), call("c1") | {"arguments": {}}]}, "input[1].arguments"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input"),
        ({"input": [user("\ud800")]}, "input[0].content"),
        ({"input": [user("\0")]}, "input[0].content"),
        ({"tools": [CLOCK | {"name": CANARY * 20}]}, "tools[0].name"),
        ({"tools": [CLOCK | {"name": ""}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "function": {"name": "clock"}}]}, "tools[0].name"),
        ({"tools": [{"name": "clock"}]}, "tools[0].type"),
        ({"tools": [CLOCK, CLOCK]}, "tools[1].name"),
        (
            {"tools": [{"type": "namespace", "name": "n", "tools": [PATCH, PATCH]}]},
            "tools[0].tools[1].name",
        ),
        ({"tools": [CLOCK | {"parameters": CANARY}]}, "tools[0].parameters"),
        ({"tools": [CLOCK], "tool_choice": {"type": "function", "name": CANARY}}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": CANARY}, "tool_choice"),
        ({"tools": [CLOCK], "guided_regex": "a"}, "guided_regex"),
        ({"text": {"format": {"type": CANARY}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"verbosity": CANARY}}, "text.verbosity"),
        ({"text": {"format": {"type": "json_object"}}, "guided_regex": "a"}, "guided_regex"),
        ({"reasoning": {"effort": CANARY}}, "reasoning.effort"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"include": [CANARY]}, "include[0]"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"metadata": {"key": 1}}, "metadata.key"),
        ({"metadata": {"x" * 65: ""}}, None),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True, "store": False}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"messages": [user()]}, "messages"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["audio"]}, "modalities"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    api: ResponsesApi, fields: dict[str, Any], param: str | None
) -> None:
    refusal = api.refused(400, **fields)
    assert refusal["type"] == "invalid_request_error"
    assert param is None or refusal["param"] == param
    assert CANARY not in str(refusal)
    assert len(str(refusal)) < 1024


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("max_tokens", 5, "Send max_output_tokens in place of max_tokens."),
        ("n_predict", 5, "Send max_output_tokens in place of n_predict."),
        ("n", 2, "A response is one answer: leave n out."),
        ("best_of", 2, "A response is one answer: leave best_of out."),
        (
            "response_format",
            {"type": "json_object"},
            "Send text.format in place of response_format.",
        ),
        ("reasoning_effort", "low", "Send reasoning.effort in place of reasoning_effort."),
        ("prompt", {"id": "p"}, "Prompts are not stored: send instructions and input."),
        ("repeat_penalty", 2, "Send repetition_penalty in place of repeat_penalty."),
    ],
)
def test_a_refusal_says_what_to_send_in_its_place(
    api: ResponsesApi, field: str, value: Any, sentence: str
) -> None:
    assert api.refused(400, **{field: value})["message"] == sentence


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({"colour": "red"}, "colour"),
        ({"input": [user() | {"mood": "good"}]}, "input[].mood"),
        ({"input": [user(), {"type": "web_search_call", "id": "w"}]}, "input[].web_search_call"),
        ({"text": {"format": {"type": "text", "x": 1}}}, "text.format.x"),
        ({"tools": [CLOCK | {"async": True}]}, "tools[].async"),
        ({"max_tool_calls": 3, "service_tier": "flex", "stream_options": None}, None),
        ({"store": True}, None),
        ({"n": 1, "conversation": None, "background": False}, None),
    ],
)
def test_what_is_unknown_is_named(
    api: ResponsesApi, fields: dict[str, Any], ignored: str | None
) -> None:
    response = api.post(**fields)
    assert response.status_code == 200, response.text
    assert response.headers.get("x-ignored-fields") == ignored


@pytest.mark.parametrize("response_id", [f"resp_{'0' * 32}", CANARY])
def test_what_is_not_stored_is_not_continued(api: ResponsesApi, response_id: str) -> None:
    refusal = api.refused(404, previous_response_id=response_id)
    assert (refusal["code"], refusal["param"]) == ("not_found", "previous_response_id")
    assert CANARY not in str(refusal)


def test_a_picture_is_refused_where_it_stands(api: ResponsesApi) -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    items = [user(), {"role": "user", "content": [{"type": "input_text", "text": "?"}, picture]}]
    refusal = api.refused(400, instructions="Look.", input=items)
    assert (refusal["code"], refusal["param"]) == ("unsupported", "input[1].content[1]")
    registry = Registry(api.api.redis)
    registry.put(TAKES_TOOLS.model_copy(update={"is_vision": True}))
    try:
        refusal = api.refused(400, instructions="Look.", input=items)
        assert (refusal["code"], refusal["param"]) == (
            "invalid_image",
            "input[1].content[1].image_url",
        )
        said = [user(), call(), output("c1", [picture])]
        assert api.refused(400, input=said)["param"] == "input[2].output[0].image_url"
    finally:
        registry.put(TAKES_TOOLS)


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_is_a_status(api: ResponsesApi, stream: bool) -> None:
    api.answers(Failed("prompt_too_long", "This prompt is too long."))
    response = api.post(stream=stream)
    assert response.status_code == 400
    refusal = error(response)
    assert (refusal["code"], refusal["param"]) == ("context_length_exceeded", "input")


def test_codex_reads_what_it_looks_for_in_the_stream(api: ResponsesApi) -> None:
    api.answers(Failed("prompt_too_long", "This prompt is too long."))
    headers = {"originator": "codex_cli_rs"}
    response = api.client.post("/v1/responses", json=body(stream=True), headers=headers)
    assert response.status_code == 200
    created, _, failed = read(response.text)
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"] == {
        "code": "context_length_exceeded",
        "message": "This prompt is too long.",
    }
    assert created["response"]["id"] == failed["response"]["id"]
    whole = api.client.post("/v1/responses", json=body(), headers=headers)
    assert whole.status_code == 400
