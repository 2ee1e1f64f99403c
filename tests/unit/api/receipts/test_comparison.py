"""Two answers are compared by the ids of their tokens and by how they ended."""

from __future__ import annotations

import pytest

from api.receipts.comparison import compared
from wire.messages import Delta, Event, Failed, Finished, FinishReason, Usage, Warning


def log(*tokens: int, end: FinishReason | None = "stop", count: int = 0) -> list[Event]:
    """A log whose deltas have two tokens each, after a warning."""
    deltas = [Delta("x", tokens[n : n + 2]) for n in range(0, len(tokens), 2)]
    usage = Usage(4, count or len(tokens))
    last = Failed("engine_failed", "It broke.", usage) if end is None else Finished(end, usage)
    return [Warning("short"), *deltas, last]


@pytest.mark.parametrize(
    ("original", "replay", "same"),
    [(log(1, 2, 3), log(1, 2, 3), 3),
     (log(end="stop"), log(end="stop"), 0),
     (log(1, 2, end="cancelled"), log(1, 2, 3), 2),
     (log(1, end=None), log(1, 2, 3), 1)],
)  # fmt: skip
def test_identical(original: list[Event], replay: list[Event], same: int) -> None:
    comparison = compared(original, replay)
    assert comparison is not None
    assert (comparison.result, comparison.compared_tokens) == ("identical", same)
    assert comparison.token is None


@pytest.mark.parametrize(
    ("original", "replay", "token", "was", "now"),
    [(log(1, 2, 3), log(1, 5, 3), 2, 2, 5),
     (log(1, 2, 3), log(1, 2), 3, 3, None),
     (log(1, 2), log(1, 2, 3), 3, None, 3),
     (log(1, 2, end="cancelled"), log(1), 2, 2, None),
     (log(1, 2, end="length"), log(1, 2, end="stop"), 3, None, None),
     (log(1, 2), log(1, 2, count=3), 3, None, None),
     (log(1, 2), log(4, end="cancelled"), 1, 1, 4)],
)  # fmt: skip
def test_differs(
    original: list[Event], replay: list[Event], token: int, was: int | None, now: int | None
) -> None:
    comparison = compared(original, replay)
    assert comparison is not None
    found = comparison.token, comparison.original_token, comparison.replay_token
    assert (comparison.result, *found) == ("differs", token, was, now)
    assert comparison.compared_tokens == token - 1


def test_a_replay_that_was_stopped_before_it_differs_tells_nothing() -> None:
    assert compared(log(1, 2, 3), log(1, 2, end="cancelled")) is None
    assert compared(log(1, 2, 3), log(1, end=None)) is None
