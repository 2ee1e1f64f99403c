"""Decides, step by step, whether a batch's rows are fed guesses, and which; measures the steps."""

from __future__ import annotations

import time
from collections.abc import Sequence as Items

from worker.backends.drafting.draft_length import PLAIN, DraftLength
from worker.backends.drafting.draft_model import DraftingRow, DraftRows
from worker.backends.drafting.row_drafts import RowDrafts


class Drafter:
    """One batch's. ``lookup`` is the length of guesses out of the rows' own tokens and outlives the
    batch: what has been measured stays true. ``model`` guesses where these don't pay."""

    def __init__(self, lookup: DraftLength, model: DraftRows | None = None) -> None:
        self._lookup = lookup
        self._model = model
        self._lengths = [lookup] if model is None else [lookup, model.length]
        self._proposed: list[list[int]] = []
        self._began = 0.0
        self._source = lookup
        """Whose guesses the last step with guesses had."""
        self._step: tuple[int, int, int] | None = None
        """What the step since then was: rows, tokens that were fed to each, tokens that came of it.
        None if its time says nothing."""
        self._has_read = False
        """Whether the draft model has read something in this step."""

    def wants(self, rows: Items[DraftingRow]) -> bool:
        """Whether guesses are likely to pay in the step after this one, behind a token that is not
        known yet."""
        if self._look_up(rows) > 0:
            self._source = self._lookup
            return True
        if self._model is not None and self._length_of_model(rows) > 0:
            self._source = self._model.length
            return True
        return False

    def drafts(self, rows: Items[DraftingRow]) -> tuple[int, list[list[int]]]:
        """What to feed to each row behind its newest token, and how many tokens the longest draft
        may have: others are padded to it, so that few different steps are measured. 0 for a plain
        step."""
        if longest := self._look_up(rows):
            self._source = self._lookup
            return longest, [draft[:longest] for draft in self._proposed]
        longest = self._length_of_model(rows)
        if self._model is None or not longest:
            return 0, []
        self._source = self._model.length
        proposed = self._model.propose(rows, longest)
        return longest, [
            _drafts_of(row).up_to_end(draft[: row.left - 1])
            for row, draft in zip(rows, proposed, strict=True)
        ]

    def note(self, row: DraftingRow, drafted: int, accepted: int) -> None:
        """Take in what came of a row's draft in this step."""
        by_model = self._source is not self._lookup
        _drafts_of(row).note(drafted, accepted, by_model=by_model)

    def remove(self, leaving: Items[DraftingRow]) -> None:
        """Rows leave the batch."""
        if self._model is not None:
            self._model.remove(leaving)

    def _look_up(self, rows: Items[DraftingRow]) -> int:
        """How long drafts out of the rows' own tokens may be; proposes them."""
        self._proposed = []
        if not self._lookup.may_pay(len(rows)):
            return 0
        guessed = []
        for row in rows:
            # The token behind the last guess comes of the step as well.
            draft = _drafts_of(row).propose(min(self._lookup.most, row.left - 1))
            self._proposed.append(draft)
            if draft:
                guessed.append((_drafts_of(row).rate, len(draft)))
        return self._lookup.choose(len(rows), guessed) if guessed else 0

    # --- the draft model --------------------------------------------------------------------------

    def _length_of_model(self, rows: Items[DraftingRow]) -> int:
        """How long the draft model's drafts may be: of the rows that it knows."""
        if self._model is None or not self._model.length.may_pay(len(rows)):
            return 0
        return self._worth(rows, self._model.known(rows))

    def _worth(self, rows: Items[DraftingRow], guessed: Items[DraftingRow]) -> int:
        """How long drafts of some of the rows may be, if the draft model made them."""
        if self._model is None or not guessed:
            return 0
        length = self._model.length
        drafts = [(_drafts_of(row).model_rate, min(length.most, row.left - 1)) for row in guessed]
        return length.choose(len(rows), drafts)

    def _read(self, rows: Items[DraftingRow]) -> bool:
        """Have the draft model read a piece, if guesses would pay; whether it has."""
        if self._model is None:
            return False
        length = self._model.length
        if not (length.may_read(len(rows)) and length.may_pay(len(rows))):
            return False
        if not self._worth(rows, rows):
            return False
        began = time.perf_counter()
        has_read = self._model.read(rows)
        if has_read:
            length.note_reading(time.perf_counter() - began)
        return has_read

    # --- times ------------------------------------------------------------------------------------

    def step_begins(self, rows: Items[DraftingRow]) -> None:
        """Take in the time since the step before began, if that was one like others: what is done
        with its tokens counts as well."""
        now = time.perf_counter()
        if self._step is not None:
            for length in self._lengths if self._step[1] == PLAIN else [self._source]:
                length.note(*self._step, now - self._began)
        self._step = None
        self._has_read = self._read(rows)
        self._began = time.perf_counter()

    def step_was(self, rows: int, width: int, tokens: int) -> None:
        """The step that began last fed ``width`` tokens to each of some rows; so many came of
        it."""
        self._step = None if self._has_read else (rows, width, tokens)

    def interrupt(self) -> None:
        """The time until the next step is not this step's alone: rows join or leave, or prompts are
        read."""
        self._step = None


def _drafts_of(row: DraftingRow) -> RowDrafts:
    if row.drafts is None:
        row.drafts = RowDrafts(row.tokens, row.ends)
    return row.drafts
