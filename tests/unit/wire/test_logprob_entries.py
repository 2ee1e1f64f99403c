"""How log-probabilities are stored with deltas and ends, cut with them, and what others read."""

from __future__ import annotations

import json

import pytest

from tests.unit.wire.one_log import JOB
from wire.log_entries import Entry, decode, encode
from wire.messages import Alternative, Delta, Event, Finished, Piece, TokenLogprob

SNOW = "\N{SNOWMAN}".encode()


def told(token: bytes, logprob: float | None = -0.5) -> TokenLogprob:
    return TokenLogprob(token, logprob, (Alternative(token, -0.25), Alternative(b"\xff", -3.0)))


HEAD, TAIL = told(SNOW[:1]), told(SNOW[1:], -1.25)
CUT = Delta("\N{SNOWMAN}", (7, 8), logprobs=(HEAD, TAIL))
PROMPT = Delta("ab", (), prompt=(TokenLogprob(b"a", None), told(b"b")))


def entry(event: Event, start: int = 0) -> Entry:
    return decode(encode(JOB, 3, event, start).encode())


@pytest.mark.parametrize(
    "event",
    [CUT, PROMPT, Delta("ab", (), prompt=()), Finished("stop", last=told(b"<|end|>"))],
)
def test_an_event_comes_back_as_it_went_in_with_the_bytes_of_its_tokens(event: Event) -> None:
    assert entry(event).event == event


def test_frames_hold_nothing_of_it() -> None:
    for event in (CUT, PROMPT):
        assert json.loads(entry(event).frame) == {"text": event.text, "done": False}


def test_what_asks_for_none_is_written_as_before() -> None:
    assert encode(JOB, 3, Delta("a", (1,)), 4).endswith("\t[1]")
    assert "last" not in encode(JOB, 4, Finished("stop"))


def test_a_delta_is_cut_with_its_tokens() -> None:
    event = Delta(
        "ab\N{SNOWMAN}",
        (1, 2, 7, 8),
        pieces=(Piece(1, 1), Piece(1, 1), Piece(2, 1)),
        logprobs=(told(b"a"), told(b"b"), HEAD, TAIL),
    )
    rest = entry(event, 10).rest(11).event
    assert isinstance(rest, Delta)
    assert (rest.text, rest.token_ids) == ("b\N{SNOWMAN}", (2, 7, 8))
    assert rest.logprobs == (told(b"b"), HEAD, TAIL)
    rest = entry(event, 10).rest(13).event  # Inside a character: the whole of it comes again.
    assert isinstance(rest, Delta)
    assert rest.logprobs == (HEAD, TAIL)


def test_an_echoed_prompt_takes_one_position() -> None:
    assert entry(PROMPT, 0)[-2:] == (0, 1)


def test_the_release_before_reads_text_and_ids_beside_it() -> None:
    extra = json.loads(encode(JOB, 3, CUT, 0).split("\t")[5])
    assert (extra["token_ids"], extra["reasoning"], extra["tool_calls"]) == ([7, 8], "", [])


def test_a_view_has_openais_names_and_comes_back() -> None:
    view = HEAD.view()
    assert view == {
        "token": "\\xe2",
        "logprob": -0.5,
        "bytes": [0xE2],
        "top_logprobs": [
            {"token": "\\xe2", "logprob": -0.25, "bytes": [0xE2]},
            {"token": "\\xff", "logprob": -3.0, "bytes": [255]},
        ],
    }
    assert TokenLogprob.of_view(view) == HEAD
