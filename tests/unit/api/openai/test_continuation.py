"""When an answer goes on in the words of the last message, and when it is a turn of its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api_support import chat_body
from tests.support.openai_support import CHAT, CLOCK, Api
from wire.messages import ChatJob

ASKED = {"role": "user", "content": "Count."}
BEGUN = {"role": "assistant", "content": "1, 2,"}
CALLED = {
    "role": "assistant",
    "content": "One moment.",
    "tool_calls": [{"id": "c", "function": {"name": "clock", "arguments": "{}"}}],
}
SCHEMA = {"response_format": {"type": "json_object"}}


def goes_on(api: Api, *turns: dict[str, Any], **fields: Any) -> bool:
    job = api.job(messages=list(turns), **fields)
    assert len(job.messages) == len(turns)
    return job.form.continue_final


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"continue_final_message": True}, True),
        ({"continue_final_message": True, "add_generation_prompt": False}, True),
        ({"add_generation_prompt": False}, True),
        ({"continue_final_message": False}, False),
        ({"continue_final_message": False, "add_generation_prompt": True}, False),
        ({"add_generation_prompt": True}, False),
        (SCHEMA, False),
        ({"tools": [CLOCK], "tool_choice": "required"}, False),
        ({"tools": [CLOCK]}, True),
    ],
)
def test_a_last_message_of_the_assistant_goes_on_unless_a_turn_is_asked_for(
    api: Api, fields: dict[str, Any], expected: bool
) -> None:
    assert goes_on(api, ASKED, BEGUN, **fields) == expected


def test_text_in_parts_and_thinking_go_on(api: Api) -> None:
    parts = [{"type": "text", "text": "1,"}, {"type": "text", "text": " 2,"}]
    assert goes_on(api, ASKED, {"role": "assistant", "content": parts})
    thought = {"role": "assistant", "content": [{"type": "text", "text": ""}], "reasoning": "Hm."}
    assert goes_on(api, ASKED, thought)


def test_other_last_messages_are_followed_by_a_new_turn(api: Api) -> None:
    assert not goes_on(api, ASKED)
    assert not goes_on(api, ASKED, CALLED)
    assert not goes_on(api, ASKED, BEGUN, ASKED)


def test_a_prefix_is_continued(api: Api) -> None:
    assert goes_on(api, ASKED, BEGUN | {"prefix": True})
    assert goes_on(api, ASKED, BEGUN | {"prefix": False})


@pytest.mark.parametrize(
    ("turns", "fields", "param"),
    [
        ([ASKED], {"continue_final_message": True}, "continue_final_message"),
        ([ASKED, CALLED], {"continue_final_message": True}, "continue_final_message"),
        (
            [ASKED, BEGUN],
            {"continue_final_message": True, "add_generation_prompt": True},
            "continue_final_message",
        ),
        ([ASKED, BEGUN], {"continue_final_message": True, **SCHEMA}, "continue_final_message"),
        ([ASKED], {"add_generation_prompt": False}, "add_generation_prompt"),
        ([ASKED, BEGUN], {"add_generation_prompt": False, **SCHEMA}, "add_generation_prompt"),
        (
            [ASKED, BEGUN],
            {"add_generation_prompt": False, "continue_final_message": False},
            "add_generation_prompt",
        ),
        ([BEGUN | {"prefix": True}, ASKED], {}, "messages[0].prefix"),
        ([ASKED | {"prefix": True}], {}, "messages[0].prefix"),
        ([ASKED, BEGUN | {"prefix": True}], SCHEMA, "messages[1].prefix"),
        ([BEGUN | {"prefix": True}], {"add_generation_prompt": True}, "messages[0].prefix"),
        (
            [ASKED, BEGUN | {"prefix": True}],
            {"continue_final_message": False},
            "continue_final_message",
        ),
    ],
)
def test_what_can_not_be_had_is_refused_by_name(
    api: Api, turns: list[Any], fields: dict[str, Any], param: str
) -> None:
    assert api.refused(400, CHAT, messages=turns, **fields)["param"] == param


def test_the_native_route_continues_a_last_message_as_well(api: Api) -> None:
    for turns, expected in (([ASKED, BEGUN], True), ([ASKED], False)):
        response = api.client.post("/api/engine/chat", json=chat_body(messages=turns))
        assert response.status_code == 200, response.text
        job = api.worker.seen[-1]
        assert isinstance(job, ChatJob)
        assert job.form.continue_final == expected


@pytest.mark.parametrize(
    "field",
    ["thinking_token_budget", "reasoning_budget_tokens", "continue_final_message"],
)
def test_the_native_route_has_no_limit_of_thinking_and_continues_unasked(
    api: Api, field: str
) -> None:
    response = api.client.post("/api/engine/chat", json=chat_body(**{field: None}))
    assert response.status_code == 422
    assert field in response.text
