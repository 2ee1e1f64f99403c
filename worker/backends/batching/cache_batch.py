"""The caches of the rows that are run together."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from worker.backends.batching import kv_cache


class CacheBatch:
    """One list of layer caches for ``rows`` rows.

    With ``lone``, a row that is alone keeps its own cache. Else it is a batch of one: then what is
    computed for it is the same to the bit as in company, mask and all.
    """

    def __init__(self, caches: list[list[Any]], *, lone: bool) -> None:
        self.lone = lone
        self.rows = len(caches)
        self._merged = self.rows > 1 or not lone
        self.layers = kv_cache.merge(caches) if self._merged else caches[0]

    def merge(self) -> list[Any]:
        """The layers as a batch, also of a single row."""
        if not self._merged:
            self.layers, self._merged = kv_cache.merge([self.layers]), True
        return self.layers

    def extend(self, other: CacheBatch) -> None:
        """Take over another batch's rows, behind those that are here."""
        for layer, more in zip(self.merge(), other.merge(), strict=True):
            layer.extend(more)
        self.rows += other.rows

    def extract(self, index: int) -> list[Any]:
        """One row's cache; a copy unless the row is alone."""
        return [layer.extract(index) for layer in self.layers] if self._merged else self.layers

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
