"""The events of a response: their order, their items, and numbers that depend on the log alone."""

from __future__ import annotations

from typing import Any

import pytest

from api.errors import ApiError
from api.responses.answer.events import RANGE, Events
from api.responses.answer.expansion import Expansion, View
from api.responses.answer.response_object import ResponseObject
from api.responses.fields import FIELDS
from tests.unit.api.responses.logged_answers import END, JOB, called, events_of, goes_on
from tests.unit.api.responses.responses_support import CLOCK, PATCH, ResponsesApi, joined, kinds
from wire.messages import (
    Delta,
    Failed,
    Finished,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    Warning,
)

MESSAGE = ["output_item.added", "content_part.added"]
MESSAGE_DONE = ["output_text.done", "content_part.done", "output_item.done"]


def test_a_text(api: ResponsesApi) -> None:
    events = api.events()
    text = ["output_text.delta"] * 2
    assert kinds(events) == [
        "created",
        "in_progress",
        *MESSAGE,
        *text,
        *MESSAGE_DONE,
        "completed",
    ]
    assert [event["sequence_number"] for event in events][:3] == [0, 1, RANGE]
    first, last = events[0]["response"], events[-1]["response"]
    assert (first["status"], first["output"], first["usage"]) == ("in_progress", [], None)
    item = {
        "id": f"msg_{api.worker.seen[-1].job_id}0000",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
    }
    assert last["output"] == [item]
    assert events[-2]["item"] == item
    assert last["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }
    assert (last["status"], last["incomplete_details"], last["error"]) == ("completed", None, None)


def test_a_whole_answer_is_the_streams_last_response(api: ResponsesApi) -> None:
    api.answers(Warning("Slow."), Delta("", (1,), "Hm."), Delta("Hi", (2,)), called("{}"), END)
    fields = {"tools": [CLOCK], "metadata": {"a": "b"}, "user": "ann", "seed": 1}
    streamed = api.events(**fields)[-1]["response"]
    whole = api.whole(**fields)
    for one in (streamed, whole):
        job_id = one.pop("id").removeprefix("resp_")
        one.pop("created_at"), one.pop("completed_at")
        for item in one["output"]:
            item["id"] = item["id"].replace(job_id, "")
    assert whole == streamed
    assert whole["warnings"] == ["Slow."]
    assert (whole["metadata"], whole["user"]) == ({"a": "b"}, "ann")


def test_thinking_a_text_and_calls_are_items_in_order() -> None:
    events = events_of(
        Delta("", (1,), "Hm"),
        Delta("", (2,), "."),
        Delta("One", (3,)),
        called('{"zone": "UTC"}'),
        called("{}", "a__b", "c2"),
        END,
    )
    assert kinds(events)[2:] == [
        *MESSAGE,
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        *MESSAGE,
        "output_text.delta",
        *MESSAGE_DONE,
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    thinking, message, first, second = events[-1]["response"]["output"]
    assert thinking["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert message["content"][0]["text"] == "One"
    assert (first["call_id"], first["name"], first["arguments"]) == (
        "c1",
        "clock",
        '{"zone": "UTC"}',
    )
    assert (second["namespace"], second["name"]) == ("a", "b")
    indexes = [one["output_index"] for one in events if one["type"].endswith("item.done")]
    assert indexes == [0, 1, 2, 3]


def test_a_call_comes_in_pieces() -> None:
    pieces = ['{"zo', 'ne": "U', 'TC"}']
    events = events_of(called(pieces[0]), goes_on(pieces[1]), goes_on(pieces[2]), END)
    deltas = [one["delta"] for one in events if one["type"].endswith("arguments.delta")]
    assert deltas == pieces
    assert kinds(events)[-3:] == ["function_call_arguments.done", "output_item.done", "completed"]
    assert events[-3]["arguments"] == "".join(pieces)


def test_what_follows_a_calls_end_in_one_step_comes_behind_it() -> None:
    tail = Delta("Done", (1,), "", (ToolCallDelta(id="", name="", arguments="}"),))
    events = events_of(called("{"), tail, END)
    call, message = events[-1]["response"]["output"]
    assert (call["arguments"], message["content"][0]["text"]) == ("{}", "Done")


def test_a_custom_tools_input_is_told_as_it_is_written() -> None:
    written = '{"input": "*** Begin\\n\\ud83d\\ude00 \\"q\\""}'
    for size in (1, 2, 3, 7, len(written)):
        cut = [written[at : at + size] for at in range(0, len(written), size)]
        events = events_of(called(cut[0], "apply_patch"), *map(goes_on, cut[1:]), END)
        item = events[-1]["response"]["output"][0]
        assert item["input"] == '*** Begin\n😀 "q"'
        assert joined(events, "custom_tool_call_input") == item["input"]
        assert item["type"] == "custom_tool_call"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('{"input": ""}', ""),
        ('{"note": 1, "input": "x"}', "x"),
        ('{"other": 1}', '{"other": 1}'),
        ('{"input": "cut off', "cut off"),
        ('{"input": "a\\ud83d', "a�"),
        ('{"input": "a\\ud83dx"}', "a�x"),
        ('{"inp', '{"inp'),
    ],
)
def test_the_input_of_odd_arguments(written: str, said: str) -> None:
    events = events_of(called("", "apply_patch"), *map(goes_on, written), END)
    assert events[-1]["response"]["output"][0]["input"] == said
    assert joined(events, "custom_tool_call_input") == said


def test_a_summary_is_asked_for() -> None:
    events = events_of(Delta("", (1,), "Hm."), END, summary=True)
    assert kinds(events)[2:-1] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    (item,) = events[-1]["response"]["output"]
    assert item["summary"] == [{"type": "summary_text", "text": "Hm."}]


def test_thinking_that_clients_carry_unread_is_what_they_send_back(api: ResponsesApi) -> None:
    api.answers(Delta("", (1,), "Hm."), END)
    (item,) = api.whole(include=["reasoning.encrypted_content"])["output"]
    # As Codex does, which sends no content back.
    carried = {name: item[name] for name in ("type", "id", "summary", "encrypted_content")}
    api.answers(END)
    job = api.job(input=[{"role": "user", "content": "Hi"}, carried])
    assert job.messages[1].reasoning == "Hm."


def test_one_call_is_wanted() -> None:
    events = events_of(
        called("{"), goes_on("}"), called("{", call_id="c2"), goes_on("}"), END, one_call=True
    )
    (item,) = events[-1]["response"]["output"]
    assert (item["call_id"], item["arguments"], item["status"]) == ("c1", "{}", "completed")


@pytest.mark.parametrize(
    ("reason", "kind", "status", "details"),
    [
        ("length", "incomplete", "incomplete", {"reason": "max_output_tokens"}),
        ("cancelled", "incomplete", "cancelled", None),
    ],
)
def test_an_answer_that_was_cut_short(reason: Any, kind: str, status: str, details: Any) -> None:
    events = events_of(Delta("Hel", (1,)), Finished(reason))
    last = events[-1]["response"]
    assert kinds(events)[-1] == kind
    assert (last["status"], last["incomplete_details"]) == (status, details)
    assert last["output"][0]["status"] == "incomplete"


def test_an_answer_of_nothing_is_an_empty_message() -> None:
    events = events_of(END)
    assert kinds(events)[2:] == [*MESSAGE, *MESSAGE_DONE, "completed"]
    assert events_of(Finished("cancelled"))[-1]["response"]["output"] == []


@pytest.mark.parametrize(
    ("failed", "code"),
    [
        (Failed("prompt_too_long", "Long."), "context_length_exceeded"),
        (Failed("queue_full", "Full."), "rate_limit_exceeded"),
        (Failed("bad_prompt", "Bad."), "invalid_prompt"),
        (Failed("engine_failed", "Broken.", Usage(5, 1)), "engine_failed"),
    ],
)
def test_a_failure_in_the_stream(failed: Failed, code: str) -> None:
    events = events_of(Delta("Hel", (1,)), failed)
    last = events[-1]["response"]
    assert kinds(events)[-1] == "failed"
    assert (last["status"], last["error"]["code"]) == ("failed", code)
    assert last["output"][0]["content"][0]["text"] == "Hel"
    assert last["usage"]["input_tokens"] == failed.usage.prompt_tokens


def test_a_rate_limit_says_when_to_come_back_in_words_that_agents_read() -> None:
    events = Events(ResponseObject(JOB, 1, "m", {}), Expansion(JOB, View({})), FIELDS)
    (last,) = events.failed(ApiError("queue_full", "9 chats wait already.", 30))
    assert last["response"]["error"]["message"].endswith("Please try again in 30s.")


def test_log_probabilities_stand_beside_their_text(api: ResponsesApi) -> None:
    one = TokenLogprob(b"Hi", -0.5)
    api.answers(Delta("Hi", (1,), logprobs=(one,)), END)
    events = api.events(include=["message.output_text.logprobs"])
    told = [event for event in events if event["type"] == "response.output_text.delta"]
    assert told[0]["logprobs"][0]["token"] == "Hi"
    part = events[-1]["response"]["output"][0]["content"][0]
    assert part["logprobs"] == told[0]["logprobs"]


def test_tools_are_named_to_the_client_as_it_named_them(api: ResponsesApi) -> None:
    api.answers(called('{"input": "x"}', "files__apply_patch"), END)
    space = {"type": "namespace", "name": "files", "description": "", "tools": [PATCH]}
    (item,) = api.whole(tools=[space])["output"]
    assert (item["type"], item["namespace"], item["name"], item["input"]) == (
        "custom_tool_call",
        "files",
        "apply_patch",
        "x",
    )
