"""How many guessed tokens are fed, given what steps cost and how often guesses were right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from worker.backends.drafting.draft_length import (
    BESIDE_GUESSES,
    FREE_STEPS,
    PLAIN,
    AcceptanceRate,
    DraftLength,
)
from worker.backends.drafting.row_drafts import RowDrafts
from worker.backends.drafting.step_costs import STALE_STEPS

PLAIN_S = 0.01
Cost = Callable[[int], float]
"""Plain steps that a step takes as long as which feeds so many tokens a row."""


def free(width: int) -> float:
    return 1 + 0.01 * width


def linear(width: int) -> float:
    return float(width)


def run(
    length: DraftLength, cost: Cost, right: float, steps: int = 500, rows: int = 4
) -> list[int]:
    """The drafts' lengths in so many steps of rows whose guesses are right so often, in turns."""
    rates = [AcceptanceRate() for _ in range(rows)]
    chosen, done = [], 0.0
    for _ in range(steps):
        longest = 0
        if length.may_pay(rows):
            longest = length.choose(rows, [(rate, length.most) for rate in rates])
        chosen.append(longest)
        tokens = rows
        for rate in rates:
            done += right
            hit = done >= 1
            done -= hit
            accepted = longest if hit else 0
            rate.note(max(accepted, int(hit and not longest)), int(not hit))
            tokens += accepted
        if longest:
            length.note(rows, longest + 1, tokens, PLAIN_S * cost(longest + 1))
        else:
            length.note(rows, PLAIN, rows, PLAIN_S)
    return chosen


def test_right_guesses_that_cost_nothing_are_fed_as_long_as_they_may_be() -> None:
    assert run(DraftLength(15), free, right=1.0)[-100:] == [15] * 100


@pytest.mark.parametrize(("cost", "right"), [(linear, 1.0), (linear, 0.5), (free, 0.0)])
def test_what_does_not_pay_is_hardly_tried(cost: Cost, right: float) -> None:
    length = DraftLength(15)
    chosen = run(length, cost, right, steps=1500)
    lost = sum(cost(longest + 1) - 1 for longest in chosen)
    assert lost <= 0.03 * len(chosen)
    assert chosen.count(0) > 0.98 * len(chosen)


def test_nothing_is_fed_before_plain_steps_were_measured() -> None:
    length = DraftLength(7)
    assert not length.may_pay(4)
    length.note(4, PLAIN, 4, PLAIN_S)
    assert length.may_pay(4)
    assert not length.may_pay(5)


def test_steps_that_guesses_make_slower_count_as_lost() -> None:
    length = DraftLength(7)
    for _ in range(10):
        length.note(1, PLAIN, 1, PLAIN_S)
    for _ in range(FREE_STEPS + 1):
        assert length.may_pay(1)
        length.note(1, BESIDE_GUESSES, 1, 2 * PLAIN_S)
    assert not length.may_pay(1)
    for _ in range(100):
        length.note(1, PLAIN, 1, PLAIN_S)
    assert length.may_pay(1)


def test_none_are_fed_where_none_may_be() -> None:
    length = DraftLength(0)
    length.note(1, PLAIN, 1, PLAIN_S)
    assert not length.may_pay(1)


def test_what_was_slow_is_tried_again_much_later() -> None:
    length = DraftLength(1)
    run(length, linear, right=1.0, steps=300)
    assert run(length, free, right=1.0, steps=300)[-1] == 0
    assert run(length, free, right=1.0, steps=STALE_STEPS)[-1] == 1


def test_the_length_depends_on_how_many_rows_there_are() -> None:
    length = DraftLength(7)
    assert run(length, free, right=1.0, rows=1)[-1] == 7
    assert run(length, linear, right=1.0, rows=32)[-1] == 0
    assert run(length, free, right=1.0, rows=1, steps=50)[-1] == 7


def test_a_row_learns_from_guesses_that_are_not_fed() -> None:
    tokens = [1, 2, 3, 4, 5, 1, 2, 3]
    drafts = RowDrafts(tokens, ends={5})
    assert drafts.propose(3) == [4], "an end is not guessed"
    begun = drafts.rate.value
    tokens.append(4)
    assert drafts.propose(3) == []
    assert drafts.rate.value > begun
    tokens += [9, 1, 2, 3]
    drafts.propose(3)
    tokens.append(0)
    better = drafts.rate.value
    drafts.propose(3)
    assert drafts.rate.value < better


def test_what_a_draft_model_reads_is_won_back_before_it_reads_more() -> None:
    length = DraftLength(3)
    assert not length.may_read(1), "no step has been measured"
    for _ in range(FREE_STEPS):
        length.note(1, PLAIN, 1, PLAIN_S)
    assert length.may_read(1)
    length.note_reading(100 * PLAIN_S)
    assert not length.may_read(1)
    assert length.may_pay(1), "what has been read is guessed in"
    for _ in range(30):
        length.note(1, 4, 4, 1.5 * PLAIN_S)
    assert not length.may_read(1)
    for _ in range(10):
        length.note(1, 4, 4, 1.5 * PLAIN_S)
    assert length.may_read(1)
