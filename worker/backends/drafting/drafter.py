"""Decides, step by step, whether a batch's rows are fed guesses, and which; measures the steps."""

from __future__ import annotations

import time
from collections.abc import Collection
from collections.abc import Sequence as Items
from typing import Protocol

from worker.backends.drafting.draft_length import DraftLength
from worker.backends.drafting.row_drafts import RowDrafts


class DraftingRow(Protocol):
    """A row of the batch. ``left`` is how many tokens its answer may still have."""

    drafts: RowDrafts | None
    """Its guesses, once there were any."""

    @property
    def tokens(self) -> Items[int]: ...
    @property
    def left(self) -> int: ...
    @property
    def ends(self) -> Collection[int]: ...


class Drafter:
    """One batch's. ``length`` outlives it: what has been measured stays true."""

    def __init__(self, length: DraftLength) -> None:
        self._length = length
        self._proposed: list[list[int]] = []
        self._began = 0.0
        self._step: tuple[int, int, int] | None = None
        """What the step since then was: rows, tokens that were fed to each, tokens that came of it.
        None if its time says nothing."""

    def wants(self, rows: Items[DraftingRow]) -> bool:
        """Whether guesses are likely to pay in the step after this one, behind a token that is not
        known yet."""
        return self._length.may_pay(len(rows)) and self._choose(rows) > 0

    def drafts(self, rows: Items[DraftingRow]) -> tuple[int, list[list[int]]]:
        """What to feed to each row behind its newest token, and how many tokens the longest draft
        may have: others are padded to it, so that few different steps are measured. 0 for a plain
        step."""
        longest = self._choose(rows) if self._length.may_pay(len(rows)) else 0
        return longest, [draft[:longest] for draft in self._proposed]

    def _choose(self, rows: Items[DraftingRow]) -> int:
        self._proposed = []
        guessed = []
        for row in rows:
            if row.drafts is None:
                row.drafts = RowDrafts(row.tokens, row.ends)
            # The token behind the last guess comes of the step as well.
            draft = row.drafts.propose(min(self._length.most, row.left - 1))
            self._proposed.append(draft)
            if draft:
                guessed.append((row.drafts.rate, len(draft)))
        return self._length.choose(len(rows), guessed) if guessed else 0

    # --- times ------------------------------------------------------------------------------------

    def step_begins(self) -> None:
        """Take in the time since the step before began, if that was one like others: what is done
        with its tokens counts as well."""
        now = time.perf_counter()
        if self._step is not None:
            self._length.note(*self._step, now - self._began)
        self._step, self._began = None, now

    def step_was(self, rows: int, width: int, tokens: int) -> None:
        """The step that began last fed ``width`` tokens to each of some rows; so many came of
        it."""
        self._step = rows, width, tokens

    def interrupt(self) -> None:
        """The time until the next step is not this step's alone: rows join or leave, or prompts are
        read."""
        self._step = None
