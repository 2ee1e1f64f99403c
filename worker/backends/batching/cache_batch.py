"""The caches of the rows that are run together."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from worker.backends.batching import kv_cache
from worker.backends.batching.row_cuts import BatchRotatingKVCache, Gaps, RowCuts


class CacheBatch:
    """One list of layer caches for ``rows`` rows.

    With ``lone``, a row that is alone keeps its own cache. Else it is a batch of one: then what is
    computed for it is the same to the bit as in company, mask and all.
    """

    def __init__(self, caches: list[list[Any]], *, lone: bool) -> None:
        self.lone = lone
        self.rows = len(caches)
        self._merged = False
        self._gaps = Gaps()
        self.layers = caches[0]
        if self.rows > 1 or not lone:
            self._merge(caches)

    def _merge(self, caches: list[list[Any]]) -> None:
        self.layers, self._merged = kv_cache.merge(caches), True
        for leaf in self._with_gaps:
            leaf.gaps = self._gaps

    def merge(self) -> list[Any]:
        """The layers as a batch, also of a single row, without gaps."""
        if not self._merged:
            self._merge([self.layers])
        self._close_gaps()
        return self.layers

    def extend(self, other: CacheBatch) -> None:
        """Take over another batch's rows, behind those that are here."""
        for layer, more in zip(self.merge(), other.merge(), strict=True):
            layer.extend(more)
        self.rows += other.rows

    def extract(self, index: int) -> list[Any]:
        """One row's cache; a copy unless the row is alone."""
        if not self._merged:
            return self.layers
        self._close_gaps()
        return [kv_cache.extract(layer, index) for layer in self.layers]

    @property
    def cuts_rows(self) -> bool:
        """Whether ``cut`` can be called."""
        return self._merged and all(
            isinstance(leaf, RowCuts | BatchRotatingKVCache)
            for leaf in kv_cache.leaves(self.layers)
        )

    def cut(self, dropped: list[int]) -> None:
        """Take the last so many tokens from each row. If there are windows: right after they were
        fed at once, and one more than were dropped."""
        for leaf in kv_cache.leaves(self.layers):
            if isinstance(leaf, BatchRotatingKVCache):
                leaf.cut(dropped)
        whole = self._with_gaps
        common, of_rows = min(dropped), mx.array(dropped)
        for leaf in whole:
            leaf.drop(common, of_rows)
        if whole and (self._gaps or max(dropped) > common):
            self._gaps.note([count - common for count in dropped], whole[0]._idx)
        if self._gaps.too_large:
            self._close_gaps()

    @property
    def _with_gaps(self) -> list[RowCuts]:
        """The layers that hold every token."""
        return [leaf for leaf in kv_cache.leaves(self.layers) if isinstance(leaf, RowCuts)]

    def _close_gaps(self) -> None:
        if not self._gaps:
            return
        whole = self._with_gaps
        order, gaps = self._gaps.close(whole[0]._idx)
        for leaf in whole:
            leaf.move(order, gaps)

    def checkpoint(self, index: int) -> list[Any]:
        """A copy of what can't be cut of one row's cache, computed."""
        if self._merged:
            kept = kv_cache.checkpoint_of(self.layers, index)
        else:
            kept = kv_cache.checkpoint(self.layers)
        kv_cache.settle(_caches(kept))
        return kept

    def keep(self, indices: list[int]) -> None:
        """Drop all other rows; ``indices`` are in ascending order and not empty."""
        if len(indices) == self.rows:
            return
        if len(indices) == 1 and self.lone:
            self.layers, self._merged = kv_cache.settle(self.extract(indices[0])), False
        else:
            self._close_gaps()
            chosen = mx.array(indices)
            for layer in self.layers:
                layer.filter(chosen)
        self.rows = len(indices)

    def split(self, indices: list[int]) -> CacheBatch:
        """Take some rows, but not all, out into a batch of their own."""
        taken = [kv_cache.settle(self.extract(index)) for index in indices]
        self.keep([index for index in range(self.rows) if index not in indices])
        return CacheBatch(taken, lone=self.lone)


def _caches(kept: Any) -> list[Any]:
    """The caches in a checkpoint."""
    if isinstance(kept, list):
        return [cache for part in kept for cache in _caches(part)]
    return [] if kept is None else [kept]
