"""The rows whose tokens are generated together.

Tokens are returned one step behind: while the device computes the rows' next tokens, the host
decodes and sends the ones before. Not so where guesses are fed: they follow from tokens that are
known.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from worker.backends.base import EndOfText, Step, Token
from worker.backends.batching.cache_batch import CacheBatch
from worker.backends.batching.row import Model, Row
from worker.backends.drafting.draft_length import BESIDE_GUESSES, PLAIN
from worker.backends.drafting.drafter import Drafter
from worker.backends.drafting.verification import verify
from worker.backends.sampling.draw import draw
from worker.backends.sampling.logprobs import Measurement
from worker.backends.sampling.repetition_penalty import RecentTokens
from worker.logprobs import Measured


class DecodeBatch:
    """Rows in decode.

    ``together`` says whether the model's rows can be decoded in one batch; else each is fed by
    itself, and all are sampled at once. ``lone`` is as in CacheBatch. ``attended`` says whether
    clients wait for the tokens; else the first ones aren't returned early, which costs a step.
    ``drafter`` says what is guessed; None: nothing is.
    """

    def __init__(
        self,
        model: Model,
        *,
        together: bool,
        lone: bool,
        attended: bool,
        drafter: Drafter | None,
    ) -> None:
        self._model = model
        self._together = together
        self._lone = lone
        self._attended = attended
        self.rows: list[Row] = []
        self._batches: list[CacheBatch] = []
        self._newest = mx.array([], dtype=mx.int32)
        """The rows' newest tokens, sampled and not yet fed: [rows]."""
        self._returned = False
        """Whether the newest tokens have been returned already, and none are being computed."""
        self._measurements: list[Measurement] = []
        """Of the newest tokens, for the rows that ask for log-probabilities."""
        self._returns_first = False
        """Whether the next step returns the newest tokens without starting others."""
        self._recent = RecentTokens()
        self._drafter = drafter

    def join(self, rows: list[Row], batch: CacheBatch) -> None:
        """Begin to generate for rows that have been read, and take them in."""
        batch.lone = self._lone
        if not self._lone:
            batch.merge()
        self.interrupted()
        inputs = mx.array([row.tokens[-1] for row in rows], dtype=mx.int32)
        assert self._together or batch.rows == 1, "rows that are fed alone are read alone"
        newest, measurement = self._compute(rows, [batch], inputs, RecentTokens(), known=1)
        begins = not self.rows
        if self._returned and not begins:
            self._advance(known=1)  # Now at the same point as the rows that join.
        if begins:
            self.rows, self._batches, self._newest = list(rows), [batch], newest
        else:
            self.rows += rows
            self._newest = mx.concatenate([self._newest, newest])
            if self._together:
                self._batches[0].extend(batch)
            else:
                self._batches.append(batch)
        self._measurements += [] if measurement is None else [measurement]
        self._returns_first, self._returned = self._attended, False

    def step(self, step: Step) -> list[Row]:
        """Add every row's token to the step, and start computing the next ones. Returns the rows
        that have ended, which are still here."""
        if self._drafter is not None:
            self._drafter.step_begins(self.rows)
            if self._returned and (fed := self._drafter.drafts(self.rows))[0]:
                return self._feed(*fed, step)
        if self._returns_first or self._waits_for_guesses:
            # At a row's first token, because its latency counts most.
            self._note_step(BESIDE_GUESSES)
            self._returns_first, self._returned = False, True
            tokens, measurements = self._newest, self._measurements
        else:
            self._note_step(BESIDE_GUESSES if self._returned else PLAIN)
            if self._returned:
                self._advance(known=1)
            tokens, measurements = self._newest, self._measurements
            self._advance(known=0)
        numbers = [int(token) for token in tokens.tolist()]
        # Computed together with the tokens: there is nothing more to wait for.
        measured = {id(row): one for part in measurements for row, one in part.read()}
        return [
            row
            for row, token in zip(self.rows, numbers, strict=True)
            if _take(row, token, step, measured.get(id(row)))
        ]

    def _note_step(self, width: int) -> None:
        """A step without guesses begins."""
        if self._drafter is not None:
            self._drafter.step_was(len(self.rows), width, len(self.rows))

    @property
    def _waits_for_guesses(self) -> bool:
        """Whether the next tokens aren't started before guesses can follow the newest."""
        return not self._returned and self._drafter is not None and self._drafter.wants(self.rows)

    def _feed(self, longest: int, drafts: list[list[int]], step: Step) -> list[Row]:
        """Feed every row its newest token and its draft, and add the tokens that come of it to the
        step. Returns the rows that have ended."""
        assert self._drafter is not None, "it has made the drafts"
        width = 1 + longest
        fed = [
            [row.tokens[-1], *draft] + [0] * (width - 1 - len(draft))
            for row, draft in zip(self.rows, drafts, strict=True)
        ]
        inputs = mx.array(fed, dtype=mx.int32)
        logits = self._model.forward(inputs, self._batches[0].layers, self.rows)
        ended, dropped = [], []
        for row, draft, taken in zip(
            self.rows, drafts, verify(logits, self.rows, drafts), strict=True
        ):
            if draft:
                self._count(row, len(draft), len(taken) - 1, step)
            count = 0
            for token, measured in taken:
                count += 1
                if _take(row, token, step, measured):
                    ended.append(row)
                    break
            dropped.append(width - count)
        self._batches[0].cut(dropped)
        self._newest = mx.array([row.tokens[-1] for row in self.rows], dtype=mx.int32)
        self._recent = RecentTokens()  # It has seen none of these tokens.
        self._drafter.step_was(len(self.rows), width, width * len(self.rows) - sum(dropped))
        return ended

    def _count(self, row: Row, drafted: int, accepted: int, step: Step) -> None:
        """Take note of what came of a row's draft."""
        assert self._drafter is not None, "it has made the draft"
        self._drafter.note(row, drafted, accepted)
        row.sequence.draft_tokens += drafted
        row.sequence.accepted_tokens += accepted
        step.draft_tokens += drafted
        step.accepted_tokens += accepted

    def interrupted(self) -> None:
        """Something else has been computed since the last step."""
        if self._drafter is not None:
            self._drafter.interrupt()

    def held(self, row: Row) -> int:
        """How many of a row's tokens its cache holds."""
        return len(row.tokens) - self._returned

    def cache_of(self, row: Row) -> list[Any]:
        """The cache of a row; a copy if the row isn't alone."""
        batch, index = self._find(row)
        return batch.extract(index)

    def remove(self, leaving: list[Row]) -> None:
        """Drop rows."""
        gone = {id(row) for row in leaving}
        staying = [i for i, row in enumerate(self.rows) if id(row) not in gone]
        if len(staying) == len(self.rows):
            return
        self.interrupted()
        if self._drafter is not None:
            self._drafter.remove(leaving)
        self.rows = [self.rows[i] for i in staying]
        if not staying:
            self._batches, self._newest = [], mx.array([], dtype=mx.int32)
            self._measurements = []
            self._returned = self._returns_first = False
            return
        if self._together:
            self._batches[0].keep(staying)
        else:
            self._batches = [self._batches[i] for i in staying]
        self._newest = self._newest[mx.array(staying)]

    def _find(self, row: Row) -> tuple[CacheBatch, int]:
        index = next(i for i, other in enumerate(self.rows) if other is row)
        return (self._batches[0], index) if self._together else (self._batches[index], 0)

    def _advance(self, *, known: int) -> None:
        """Feed the newest tokens, and start computing the next ones. ``known``: whether the
        newest tokens are among the rows' tokens already, 1 or 0."""
        self._newest, measurement = self._compute(
            self.rows, self._batches, self._newest, self._recent, known
        )
        self._measurements = [] if measurement is None else [measurement]
        self._returned = False

    def _compute(
        self,
        rows: list[Row],
        batches: list[CacheBatch],
        inputs: mx.array,
        recent: RecentTokens,
        known: int,
    ) -> tuple[mx.array, Measurement | None]:
        """Feed each row its input and sample its next token; measure those of the rows that ask."""
        logits, first = [], 0
        for batch in batches:
            end = first + batch.rows
            part = inputs if batch.rows == len(rows) else inputs[first:end]
            logits.append(self._model.decode(part, batch.layers, rows[first:end]))
            first = end
        together = logits[0] if len(logits) == 1 else mx.concatenate(logits)
        return draw(together, rows, inputs, recent, known)


def _take(row: Row, token: int, step: Step, measured: Measured | None) -> bool:
    """Add a row's token to the step; whether it was the row's last."""
    row.tokens.append(token)
    row.key_ids.append(token)
    row.left -= 1
    end: EndOfText | None = "stop" if token in row.ends else "length" if row.left == 0 else None
    step.tokens.append(Token(row.sequence, token, end, measured))
    return end is not None
