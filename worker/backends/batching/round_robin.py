"""Rows that run round-robin instead of in a batch, one token per row and step, for models whose
cache can't be batched."""

from __future__ import annotations

import mlx.core as mx

from worker.backends.base import Step
from worker.backends.batching.row_batch import Row, RowBackend
from worker.backends.sampling.logits_processors import process_logits
from worker.backends.sampling.sampler import RecentTokens, sample


class RoundRobin(RowBackend):
    """A mixin for a RowBackend, first in the bases: rows keep their own caches and are decoded one
    after another."""

    def reset(self) -> None:
        super().reset()
        self._windows: dict[Row, RecentTokens] = {}

    def _join(self, row: Row) -> None:
        self._decoding.append(row)
        self._windows[row] = RecentTokens()

    def _decode(self, step: Step) -> None:
        leaving = []
        for row in self._decoding:
            inputs = mx.array(row.tokens[-1:])
            logits = process_logits(self._forward(inputs, row.cache, [row]), [row.sampler], inputs)
            recent = self._windows[row].advance([row], [row.sampler], [row.tokens[:-1]], inputs)
            token = int(sample(logits, [row.sampler], recent).item())
            row.fresh = False
            if self._take(row, token, step):
                leaving.append(row)
        self._leave(leaving, keep=self._caches_rows)

    def _leave(self, leaving: list[Row], *, keep: bool = True) -> None:
        for row in leaving:
            self._decoding.remove(row)
            del self._windows[row]
            # The last token has been sampled but not fed.
            held = row.key_ids[:-1]
            if keep:
                self._keep(row, held, row.cache)
