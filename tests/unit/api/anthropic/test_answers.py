"""Answers in Anthropic's shape, whole and streamed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from api.anthropic.answer import MessageAnswer
from api.anthropic.streaming import PING, EventsStream
from tests.support.api_support import LIMIT_S
from tests.unit.api.anthropic.messages_api import (
    CLOCK,
    MESSAGES,
    AnthropicApi,
    blocks_of,
    body,
    serving,
)
from wire.messages import Delta, Event, Failed, Finished, Piece, ToolCallDelta, Usage, Warning
from wire.settings import Settings

CALL = ToolCallDelta(id="0123abcde", name="clock", arguments='{"zone":"UTC"}')
END = Finished("stop", Usage(5, 3, 2, 1))


def calls(*pieces: str, name: str = "clock") -> list[Delta]:
    """A call told piece by piece."""
    first = Delta("", (1,), tool_calls=(ToolCallDelta(id="0123abcde", name=name, arguments=""),))
    rest = [
        Delta("", (2,), tool_calls=(ToolCallDelta(id="", name="", arguments=p),)) for p in pieces
    ]
    return [first, *rest]


def test_a_text(api: AnthropicApi) -> None:
    answer = api.message()
    assert answer["content"] == [{"type": "text", "text": "Hello", "citations": []}]
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("end_turn", None)
    assert answer["model"] == "model-1"
    assert answer["id"].startswith("msg_")
    assert answer["sampling"]["max_tokens"] == 100
    assert answer["usage"] == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 2,
        "output_tokens": 3,
        "output_tokens_details": {"thinking_tokens": 0},
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": None,
    }
    assert (answer["stop_details"], answer["container"]) == (None, None)


def test_a_stream(api: AnthropicApi) -> None:
    events = api.events()
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["content"] == []
    assert events[-2]["usage"]["cache_read_input_tokens"] == 2
    assert blocks_of(events) == [{"type": "text", "text": "Hello", "citations": []}]


ANSWERS: list[tuple[list[Event], list[str], str]] = [
    ([Delta("Hi", (1,)), END], ["text"], "end_turn"),
    ([END], [], "end_turn"),
    ([Delta("", (1,), "Hm."), Delta("Yes.", (2,)), END], ["thinking", "text"], "end_turn"),
    ([Delta("", (1,), tool_calls=(CALL,)), END], ["tool_use"], "tool_use"),
    ([Delta("", (1,), tool_calls=(CALL, CALL)), END], ["tool_use", "tool_use"], "tool_use"),
    ([*calls('{"zo', 'ne":"', 'UTC"}'), END], ["tool_use"], "tool_use"),
    (
        [*calls('{"zo', 'ne":"UTC"}'), Delta("", (3,), tool_calls=(CALL,)), END],
        ["tool_use"] * 2,
        "tool_use",
    ),
    ([Delta("Hi", (1,)), Finished("length")], ["text"], "max_tokens"),
    ([Delta("Hi", (1,)), Finished("stop", stop_reason="END")], ["text"], "stop_sequence"),
    ([Delta("Hi", (1,)), Finished("cancelled")], ["text"], "end_turn"),
]


@pytest.mark.parametrize(("events", "kinds", "reason"), ANSWERS)
def test_a_stream_says_what_a_whole_message_does(
    api: AnthropicApi, events: list[Event], kinds: list[str], reason: str
) -> None:
    api.worker.answer = lambda _: events
    whole = api.message(tools=[CLOCK])
    streamed = api.events(tools=[CLOCK])
    assert [block["type"] for block in whole["content"]] == kinds
    told = blocks_of(streamed)
    # The signature is derived from the job, which is another one.
    for block in (*told, *whole["content"]):
        if "signature" in block:
            assert block.pop("signature")
    assert told == whole["content"]
    assert whole["stop_reason"] == streamed[-2]["delta"]["stop_reason"] == reason
    for block in whole["content"]:
        if block["type"] == "tool_use":
            assert (block["id"], block["input"]) == ("toolu_0123abcde", {"zone": "UTC"})


def grouped(deltas: Sequence[Delta]) -> Delta:
    """Several deltas as the log may hold them."""
    return Delta(
        "".join(d.text for d in deltas),
        tuple(itertools.chain.from_iterable(d.token_ids for d in deltas)),
        "".join(d.reasoning for d in deltas),
        tuple(itertools.chain.from_iterable(d.tool_calls for d in deltas)),
        tuple(itertools.chain.from_iterable(d.cuts for d in deltas)),
    )


def test_the_order_is_kept_however_the_log_groups_events() -> None:
    deltas = [
        Delta("", (1,), "Hm."),
        Delta("One ", (2,)),
        Delta("", (3,), tool_calls=(CALL,)),
        Delta("two.", (4,)),
        *calls('{"zone":', '"UTC"}'),
    ]
    told = []
    for first in range(len(deltas) + 1):
        events = [grouped(deltas[:first])] if first else []
        events += [grouped(deltas[first:])] if first < len(deltas) else []
        told.append(MessageAnswer("j", "m").whole([*events, END], END)["content"])
    assert [block["type"] for block in told[0]] == [
        "thinking",
        "text",
        "tool_use",
        "text",
        "tool_use",
    ]
    assert all(blocks == told[0] for blocks in told)
    assert isinstance(deltas[0].cuts[0], Piece)


def test_only_one_call_is_told_if_only_one_is_wanted(api: AnthropicApi) -> None:
    api.worker.answer = lambda _: [
        *calls('{"zone":', '"UTC"}'),
        *calls('{"zone":', '"GMT"}', name="bell"),
        END,
    ]
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    answer = api.message(tools=[CLOCK], tool_choice=choice)
    assert [(block["name"], block["input"]) for block in answer["content"]] == [
        ("clock", {"zone": "UTC"})
    ]
    assert blocks_of(api.events(tools=[CLOCK], tool_choice=choice)) == answer["content"]


def test_a_call_that_was_cut_is_told_as_far_as_it_goes(api: AnthropicApi) -> None:
    api.worker.answer = lambda _: [*calls('{"zone":"U'), Finished("length")]
    answer = api.message(tools=[CLOCK], tool_choice={"type": "any"})
    assert (answer["content"][0]["input"], answer["stop_reason"]) == ({"zone": "U"}, "max_tokens")


def test_thinking_can_be_hidden(api: AnthropicApi) -> None:
    api.worker.answer = lambda _: [Delta("", (1,), "Hm."), Delta("Yes.", (2,)), END]
    thinking = {"type": "adaptive", "display": "omitted"}
    for blocks in (
        api.message(thinking=thinking)["content"],
        blocks_of(api.events(thinking=thinking)),
    ):
        assert (blocks[0]["type"], blocks[0]["thinking"]) == ("thinking", "")
        assert blocks[0]["signature"]


def test_a_stopped_chat_says_so(api: AnthropicApi) -> None:
    api.worker.answer = lambda _: [Delta("Hi", (1,)), Finished("cancelled")]
    response = api.post()
    assert (response.json()["cancelled"], response.headers["x-cancelled"]) == (True, "true")
    assert api.events()[-2]["cancelled"] is True


def test_warnings_are_told_once_and_under_the_names_of_fields_here(api: AnthropicApi) -> None:
    api.worker.answer = lambda _: [
        Warning("reasoning_effort has no effect: this model does not think."),
        Delta("Hi", (1,)),
        END,
    ]
    sentence = "thinking has no effect: this model does not think."
    response = api.post()
    assert response.json()["warnings"] == [sentence]
    assert response.headers["x-warning"] == sentence
    told = [
        event.get("warnings") or event.get("message", {}).get("warnings") for event in api.events()
    ]
    assert [one for one in told if one] == [[sentence]]


def test_a_failure_behind_the_first_words_is_an_event(api: AnthropicApi) -> None:
    api.worker.answer = lambda _: [Delta("Hi", (1,)), Failed("engine_failed", "It broke.")]
    last = api.events()[-1]
    assert last["type"] == "error"
    assert last["error"] == {"type": "api_error", "message": "It broke."}
    assert api.post().status_code == 500


def test_an_idempotent_request_gets_the_same_bytes(api: AnthropicApi) -> None:
    api.worker.answer = lambda _: [Delta("", (1,), "Hm."), *calls('{"zone":"UTC"}'), END]
    told = []
    for _ in range(2):
        sent = body(stream=True, tools=[CLOCK])
        response = api.client.post(MESSAGES, json=sent, headers={"Idempotency-Key": "same"})
        told.append("".join(part for part in response.text.split("\n\n") if ":" in part))
    assert told[0] == told[1]
    assert len(api.worker.seen) == 1


def test_a_silent_stream_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    pinged, heartbeat = threading.Event(), EventsStream._heartbeat

    def noted(stream: EventsStream) -> bytes:
        pinged.set()
        return heartbeat(stream)

    def slowly(_: Any) -> list[Event]:
        assert pinged.wait(LIMIT_S)  # The silence: the stream has to fill it.
        return [Delta("Hello", (1,)), END]

    monkeypatch.setattr(EventsStream, "_heartbeat", noted)
    with serving(Settings(keepalive_s=0.05)) as api:
        api.worker.answer = slowly
        text = api.post(stream=True).text
        assert PING.decode() in text
        assert text.index("message_start") < text.index("event: ping") < text.index("Hello")
