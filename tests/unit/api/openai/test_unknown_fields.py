"""Fields of OpenAI's requests that nobody knows are named in a header, wherever they stand."""

from __future__ import annotations

import pytest

from tests.support.openai_support import CHAT, CLOCK, COMPLETIONS, Api, body


@pytest.mark.parametrize("stream", [False, True])
def test_unknown_fields_are_named_in_a_header(api: Api, stream: bool) -> None:
    turns = [{"role": "user", "content": "Hi", "images": ["x"], "annotations": [], "audio": None}]
    fields = {
        "chat_id": "x",
        "sneaky\r\nheader": 1,
        "nothing": None,
        "messages": turns,
        "stream": stream,
    }
    answer = api.client.post(CHAT, json=body(CHAT) | fields | {"stream_options": {"surprise": 1}})
    assert (
        answer.headers["x-ignored-fields"]
        == "(not a name), chat_id, messages[].images, stream_options.surprise"
    )
    assert api.client.post(
        COMPLETIONS, json=body(COMPLETIONS) | {"chat_id": "x", "stream": stream}
    ).headers["x-ignored-fields"] == ("chat_id")
    many = api.client.post(CHAT, json=body(CHAT) | {f"field_{n:03}": 1 for n in range(300)})
    assert many.headers["x-ignored-fields"].endswith("field_019, and 280 more")


def test_unknown_fields_inside_of_others_are_named_too(api: Api) -> None:
    text = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    call = {"id": "c1", "index": 0, "function": {"name": "clock", "extra": 1}, "nothing": None}
    turns = [
        {"role": "user", "content": [text, text]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
    ]
    fields = {
        "messages": turns,
        "tools": [CLOCK | {"cache_control": {}, "defer_loading": True}],
        "tool_choice": {"type": "function", "function": {"name": "clock", "why": "x"}},
    }
    answer = api.client.post(CHAT, json=body(CHAT) | fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-ignored-fields"].split(", ") == [
        "messages[].content[].cache_control",
        "messages[].tool_calls[].function.extra",
        "tool_choice.function.why",
        "tools[].defer_loading",
    ]
    schema = {"name": "x", "description": "y", "schema": {"type": "object"}, "surprise": 1}
    form = {"response_format": {"type": "json_schema", "json_schema": schema}}
    held = api.client.post(CHAT, json=body(CHAT) | form)
    assert held.headers["x-ignored-fields"] == "response_format.json_schema.surprise"
