"""Guesses out of the text go before a draft model's, and a draft model's stop where they don't
pay."""

from __future__ import annotations

import time
from collections.abc import Collection
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from functools import partial

import pytest

from worker.backends.drafting.draft_length import PLAIN, DraftLength
from worker.backends.drafting.draft_model import DraftingRow
from worker.backends.drafting.drafter import Drafter
from worker.backends.drafting.row_drafts import RowDrafts
from worker.backends.sampling.sampler import RowSampler

PLAIN_S = 0.01


@dataclass
class Row:
    tokens: list[int] = field(default_factory=lambda: list(range(100, 120)))
    left: int = 1000
    ends: Collection[int] = ()
    drafts: RowDrafts | None = None
    sampler: RowSampler = field(default_factory=lambda: RowSampler(0.0, 1.0, 1.0, 1, 0))


class Counting:
    """A draft model that has read everything and guesses that each token is one more than the one
    before."""

    def __init__(self) -> None:
        self.length = DraftLength(3)

    def read(self, rows: Items[DraftingRow]) -> bool:  # noqa: ARG002
        return False

    def known(self, rows: Items[DraftingRow]) -> list[DraftingRow]:
        return list(rows)

    def propose(self, rows: Items[DraftingRow], length: int) -> list[list[int]]:
        return [[row.tokens[-1] + n for n in range(1, length + 1)] for row in rows]

    def remove(self, leaving: Items[DraftingRow]) -> None:
        """It keeps nothing."""


class Batch:
    """Steps that take a time by their widths, of rows that go on as the truth says: each token is
    so much more than the one before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int, truth: int, width_s: float):
        self.rows: list[Row] = [Row() for _ in range(rows)]
        self._truth, self._width_s = truth, width_s
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def run(self, drafter: Drafter, steps: int) -> list[int]:
        """The lengths of the drafts."""
        chosen = []
        for _ in range(steps):
            drafter.step_begins(self.rows)
            longest, drafts = drafter.drafts(self.rows)
            fed = drafts if longest else [[] for _ in self.rows]
            tokens = sum(map(partial(self._go_on, drafter), self.rows, fed))
            drafter.step_was(len(self.rows), longest + PLAIN, tokens)
            self.now += PLAIN_S + self._width_s * longest
            chosen.append(longest)
        return chosen

    def _go_on(self, drafter: Drafter, row: Row, draft: list[int]) -> int:
        right = 0
        while right < len(draft) and draft[right] == row.tokens[-1] + self._truth * (right + 1):
            right += 1
        if draft:
            drafter.note(row, len(draft), right)
        for _ in range(right + 1):
            row.tokens.append(row.tokens[-1] + self._truth)
        return right + 1


@pytest.mark.parametrize("rows", [1, 4])
def test_a_draft_model_that_is_right_and_quick_guesses_as_far_as_it_may(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    batch = Batch(monkeypatch, rows, truth=1, width_s=0.001)
    assert batch.run(Drafter(DraftLength(0), Counting()), 200)[-50:] == [3] * 50


@pytest.mark.parametrize(("truth", "width_s"), [(2, 0.001), (1, 0.05)], ids=["wrong", "slow"])
def test_one_that_is_wrong_or_slow_stops(
    monkeypatch: pytest.MonkeyPatch, truth: int, width_s: float
) -> None:
    batch = Batch(monkeypatch, 4, truth, width_s)
    chosen = batch.run(Drafter(DraftLength(0), Counting()), 1000)
    assert any(chosen)
    assert sum(map(bool, chosen[-800:])) < 8


def test_guesses_out_of_the_text_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(monkeypatch, 1, truth=0, width_s=0.001)
    drafter = Drafter(DraftLength(7), Counting())
    assert set(batch.run(drafter, 100)[-20:]) == {7}
    assert batch.rows[0].drafts is not None
    assert batch.rows[0].drafts.rate.value > 0.9
