"""A draft model's caches for the rows of one decode batch, and its guesses.

The rows are a batch here as well. Between two calls a row may have got any number of tokens, the
guesses that were fed here among them or not: its cache is cut back to what was right, and the rest
is fed with the next guess. So nothing has to be told of what came of a draft, or of plain steps.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx

from worker.backends.batching import kv_cache
from worker.backends.batching.cache_batch import CacheBatch
from worker.backends.drafting.draft_length import DraftLength
from worker.backends.drafting.draft_model import DraftingRow
from worker.backends.sampling.draw import draw
from worker.backends.sampling.repetition_penalty import RecentTokens
from worker.backends.sampling.sampler import RowSampler
from worker.prompt_cache import PromptCache

MOST_BEHIND = 8
"""Tokens of a row that are fed with the next guess; one with more is read before, a piece a step,
and not guessed in."""
Logits = Callable[[mx.array, list[Any]], mx.array]
"""Feeds [rows, tokens] to the caches of the rows; returns logits [rows, tokens, vocabulary]."""


@dataclass(slots=True, eq=False)
class _Known:
    """What the draft model's cache holds of a row: its first ``held`` tokens, and behind them
    guesses that were ``fed``."""

    row: DraftingRow
    held: int
    fed: list[int] = field(default_factory=list)

    @property
    def missing(self) -> Items[int]:
        """The tokens that it doesn't hold: the newest at least."""
        return self.row.tokens[self.held :]


@dataclass(frozen=True, slots=True, eq=False)
class _Behind:
    """A position behind some guesses."""

    tokens: Items[int]
    sampler: RowSampler
    logprobs: int | None = None


class DraftRows:
    """Implements the protocol of the same name. ``keeps``: what was read of a row is kept in
    ``cache`` under ``key`` when the row leaves."""

    def __init__(
        self,
        logits: Logits,
        new_cache: Callable[[], list[Any]],
        cache: PromptCache,
        *,
        key: Any,
        length: DraftLength,
        chunk: int,
        keeps: bool,
    ) -> None:
        self.length = length
        self._logits = logits
        self._new_cache = new_cache
        self._cache = cache
        self._key = key
        self._chunk = chunk
        self._keeps = keeps
        self._known: list[_Known] = []
        self._batch: CacheBatch | None = None
        """The caches of the rows that are known, in their order."""
        self._reading: tuple[_Known, CacheBatch] | None = None
        """A row that is being read, by itself."""

    def known(self, rows: Items[DraftingRow]) -> list[DraftingRow]:
        ready = {id(one.row) for one in self._settled() if len(one.missing) <= MOST_BEHIND}
        return [row for row in rows if id(row) in ready]

    def read(self, rows: Items[DraftingRow]) -> bool:
        self._settled()
        if any(len(one.missing) > MOST_BEHIND for one in self._known):
            self._feed([one.missing[:-1][: self._chunk] for one in self._known])
            kv_cache.evaluate(self._layers)
            return True
        if self._reading is None:
            known = {id(one.row) for one in self._known}
            if (row := next((row for row in rows if id(row) not in known), None)) is None:
                return False
            reuse = self._cache.fetch(self._key, row.tokens, counted=False)
            layers = self._new_cache() if reuse.cache is None else reuse.cache
            self._reading = _Known(row, reuse.length), CacheBatch([layers], lone=False)
        self._read_on(*self._reading)
        return True

    def _read_on(self, one: _Known, batch: CacheBatch) -> None:
        if piece := one.missing[:-1][: self._chunk]:
            self._logits(mx.array([piece]), batch.layers)
            kv_cache.evaluate(batch.layers)
            one.held += len(piece)
        if len(one.missing) > 1:
            return
        self._reading = None
        self._known.append(one)
        if self._batch is None:
            self._batch = batch
        else:
            self._batch.extend(batch)

    def propose(self, rows: Items[DraftingRow], length: int) -> list[list[int]]:
        known = self._settled()
        last = self._feed([one.missing[:MOST_BEHIND] for one in known])
        for at in range(length):
            inputs = mx.array([one.fed[-1] if one.fed else one.row.tokens[-1] for one in known])
            positions = [_behind(one, at) for one in known]
            newest, _ = draw(last, positions, inputs, RecentTokens(), known=1)
            for one, token in zip(known, newest.tolist(), strict=True):
                one.fed.append(int(token))
            if at + 1 < length:
                last = self._logits(newest[:, None], self._layers)[:, -1]
        drafts = {id(one.row): list(one.fed) for one in known if not one.missing}
        for one in known:
            one.fed.pop()  # Nothing followed from it yet.
        return [drafts.get(id(row), []) for row in rows]

    def remove(self, leaving: Items[DraftingRow]) -> None:
        gone = {id(row) for row in leaving}
        if self._reading is not None and id(self._reading[0].row) in gone:
            self._keep(*self._reading, 0)
            self._reading = None
        staying = [i for i, one in enumerate(self._settled()) if id(one.row) not in gone]
        if self._batch is None or len(staying) == len(self._known):
            return
        for index, one in enumerate(self._known):
            if id(one.row) in gone:
                self._keep(one, self._batch, index)
        self._known = [self._known[i] for i in staying]
        if staying:
            self._batch.keep(staying)
        else:
            self._batch = None

    def _keep(self, one: _Known, batch: CacheBatch, index: int) -> None:
        if self._keeps and one.held:
            kept = kv_cache.settle(batch.extract(index))
            self._cache.insert(self._key, one.row.tokens[: one.held], kept)

    def _settled(self) -> list[_Known]:
        """The rows that are known, without the guesses in their caches that were wrong."""
        dropped = []
        for one in self._known:
            right = 0
            for guess, token in zip(one.fed, one.missing[:-1], strict=False):
                if guess != token:
                    break
                right += 1
            dropped.append(len(one.fed) - right)
            one.held += right
            one.fed.clear()
        if self._batch is not None and any(dropped):
            self._batch.cut(dropped)
        return self._known

    @property
    def _layers(self) -> list[Any]:
        assert self._batch is not None, "a row is known"
        return self._batch.layers

    def _feed(self, pieces: Items[Items[int]]) -> mx.array:
        """Feed each row some of the tokens that it doesn't hold yet; the logits behind the last of
        them, [rows, vocabulary]."""
        counts = [len(piece) for piece in pieces]
        width = max(counts)
        ids = mx.array([[*piece] + [0] * (width - len(piece)) for piece in pieces])
        logits = self._logits(ids, self._layers)
        if min(counts) < width and self._batch is not None:
            self._batch.cut([width - count for count in counts])
        for one, count in zip(self._known, counts, strict=True):
            one.held += count
        return logits[mx.arange(len(counts)), mx.array(counts) - 1]


def _behind(one: _Known, at: int) -> _Behind:
    """The position behind so many guesses of a row: as it is drawn there, so that a guess is right
    as often as can be. What a schema would add follows from an answer of which every token is
    certain, and is left out."""
    sampler = one.row.sampler
    # Only a repetition penalty looks at the tokens.
    tokens = [*one.row.tokens[-sampler.context_size :], *one.fed] if sampler.penalty != 1.0 else ()
    return _Behind(tokens, replace(sampler, position=sampler.position + at, processor=None))
