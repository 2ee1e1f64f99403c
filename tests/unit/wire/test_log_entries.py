"""How events are stored: frames, positions in tokens, and what an earlier release reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.wire.one_log import JOB, decode_step
from wire.log_entries import UNKNOWN, Entry, decode, encode, position_after
from wire.messages import (
    Delta,
    Event,
    Failed,
    Finished,
    Piece,
    Progress,
    Timings,
    ToolCallDelta,
    Usage,
    Warning,
)


@pytest.mark.parametrize(
    "event",
    [
        Delta("Größe \N{SNOWMAN}\n", (1, 2, 3)),
        Warning("High memory usage (91%). Generation may be slow."),
        Progress("prefill", 3, 9),
        Finished("length", Usage(1, 2, 3)),
        Finished("length", Usage(1, 9, 3, reasoning_tokens=5)),
        Failed("engine_failed", "It broke.", Usage(4, 5, 6, reasoning_tokens=2)),
        Finished("stop", Usage(1, 2, 3), Timings(1.0, draft_tokens=7, accepted_tokens=5)),
        Finished("stop", result={"status": "loaded"}),
        Finished("stop", stop_reason="END"),
        Finished("stop", stop_reason=7),
        Failed("engine_failed", "It broke.", Usage(4, 5, 6)),
        Failed("invalid_request", "There is no such token.", param="logit_bias"),
    ],
)
def test_an_event_comes_back_as_it_went_in(event: Event) -> None:
    (entry,) = decode_step(encode(JOB, 7, event).encode())
    assert entry.event == event
    assert (entry.job_id, entry.sequence) == (JOB, 7)


def test_an_earlier_release_reads_an_end_with_thinking_and_its_own_are_read() -> None:
    (entry,) = decode_step(encode(JOB, 7, Finished("stop", Usage(1, 9, 3, 5))).encode())
    counted = {"prompt_tokens": 1, "completion_tokens": 9, "cached_tokens": 3}
    assert entry.extra["usage"] == counted
    (plain,) = decode_step(encode(JOB, 7, Finished("stop", Usage(1, 9, 3))).encode())
    assert set(plain.extra) == {"usage", "timings", "finish_reason"}
    assert plain.event == Finished("stop", Usage(1, 9, 3))


def test_the_frame_of_a_delta_is_the_contracts() -> None:
    (entry,) = decode_step(encode(JOB, 1, Delta("Hello", (5,))).encode())
    assert json.loads(entry.frame) == {"text": "Hello", "done": False}


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        'quotes " and \\ back',
        "\u2028 line\n\ttab",
        "\N{SNOWMAN}\N{GRINNING FACE}",
        "\x00\x1f",
    ],
)
def test_a_delta_is_written_as_json_would(text: str) -> None:
    frame = json.dumps({"text": text, "done": False})
    assert encode("job", 3, Delta(text, (1, 22))) == f"job\t3\tdelta\t0\t{frame}\t[1,22]"


def test_a_delta_of_several_steps_is_written_as_json_would() -> None:
    event = Delta("one two", (1, 22, 3), pieces=(Piece(1, 3), Piece(2, 4), Piece(0, 0)))
    more = {"token_ids": [1, 22, 3], "reasoning": "", "tool_calls": []}
    more["pieces"] = [3, [2, 4, 0, 0], [0, 0, 0, 0]]
    line = encode("job", 3, event, 5)
    assert line.split("\t")[3:] == [
        "0:5:9",
        '{"text": "one two", "done": false}',
        json.dumps(more, separators=(",", ":")),
    ]
    assert decode(line.encode()).event == event


@pytest.mark.parametrize("text", ["a\tb\nc", "\u2028\x85\x1e", '"\t"'])
def test_no_text_can_be_taken_for_the_end_of_an_entry(text: str) -> None:
    step = "\n".join(
        encode("job", n, event) for n, event in ((1, Delta(text, (1,))), (2, Warning(text)))
    )
    assert [entry.event for entry in decode_step(step.encode())] == [
        Delta(text, (1,)),
        Warning(text),
    ]


MERGED = Delta(
    "Größe one!",
    (1, 2, 3, 4, 5),
    "thought",
    (ToolCallDelta(id="c", name="f", arguments="{}"),),
    (Piece(1, 5, 3), Piece(2, 4, 4), Piece(2, 0, 0, 1), Piece(0, 1)),
)


def at(event: Event, start: int) -> Entry:
    return decode(encode(JOB, 4, event, start).encode())


def test_a_delta_is_stored_with_its_place_in_tokens_and_what_is_held_back_to_the_end_has_one() -> (
    None
):
    assert at(Delta("ab", (1, 22)), 7)[-2:] == (7, 9)
    assert at(Delta("rest", ()), 9)[-2:] == (9, 10)
    assert at(MERGED, 10)[-2:] == (10, 16)
    assert at(MERGED, 10).event == MERGED
    assert encode(JOB, 4, Delta("a", (1,)), 7).split("\t")[3] == "0:7:8"


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        (10, MERGED),
        (11, (" one!", "ught", 1)),
        (12, (" one!", "ught", 1)),  # Inside a piece: all of the piece is still to be sent.
        (13, ("!", "", 1)),
        (15, ("!", "", 0)),
    ],
)
def test_a_delta_is_cut_where_a_client_has_seen_it(seen: int, left: Any) -> None:
    rest = at(MERGED, 10).rest(seen)
    event = rest.event
    assert isinstance(event, Delta)
    if isinstance(left, Delta):
        left = (left.text, left.reasoning, len(left.tool_calls))
    assert (event.text, event.reasoning, len(event.tool_calls)) == left
    assert rest.position == 16
    assert json.loads(rest.data) == {"text": event.text, "done": False}


@pytest.mark.parametrize(
    ("event", "positions"),
    [
        (Warning("w"), 0),
        (Delta("x", (1, 2, 3)), 3),
        (Delta("x", ()), 1),
        (Delta("x", (1, 2), "thought"), 2),
        (Finished("stop"), 1),
        (Failed("engine_failed", "x"), 1),
    ],
)
def test_the_place_of_what_the_first_release_wrote_is_counted(event: Event, positions: int) -> None:
    entry = decode(encode(JOB, 1, event).encode())
    assert entry.position == UNKNOWN
    assert entry.placed(5)[-2:] == (5, 5 + positions)


def test_the_position_behind_a_log_is_counted_whoever_wrote_it() -> None:
    log = [Warning("w"), Delta("ab", (1, 2)), Delta("c", (3,)), Delta("d", (4,)), Finished("stop")]
    old = [decode(encode(JOB, n, event).encode()) for n, event in enumerate(log, 1)]
    new = [decode(encode(JOB, n, event, 2).encode()) for n, event in enumerate(log[2:3], 3)]
    assert position_after(old) == 5
    assert position_after([*old[:2], *new, *old[3:]]) == 5


def first_release(line: str) -> tuple[Any, ...]:
    """An entry as the first release parses it: six fields, and an event without later fields."""
    job_id, sequence, kind, ends, data, more = line.encode().split(b"\t")
    extra = json.loads(more)
    details: tuple[Any, ...]
    if isinstance(extra, list):
        details = (tuple(extra), "", ())
    else:
        details = (
            tuple(extra["token_ids"]),
            extra["reasoning"],
            tuple(ToolCallDelta(**call) for call in extra["tool_calls"]),
        )
    return (
        job_id.decode(),
        int(sequence),
        kind.decode(),
        ends == b"1",
        json.loads(data)["text"],
        *details,
    )


@pytest.mark.parametrize("event", [MERGED, Delta("a", (1,))])
def test_the_first_release_reads_what_this_one_writes(event: Delta) -> None:
    fields = first_release(encode(JOB, 4, event, 10))
    assert fields == (
        JOB,
        4,
        "delta",
        False,
        event.text,
        event.token_ids,
        event.reasoning,
        event.tool_calls,
    )


def test_the_rest_of_a_merged_delta_can_be_cut_where_the_whole_could() -> None:
    entry = decode(encode(JOB, 1, MERGED, 0).encode("ascii"))
    rest = entry.rest(1).event
    assert isinstance(rest, Delta)
    assert rest.cuts == MERGED.pieces[1:]
    last = entry.rest(5).event
    assert isinstance(last, Delta)
    assert (last.pieces, last.cuts) == ((), MERGED.pieces[3:])
