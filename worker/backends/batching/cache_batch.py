"""The caches of the rows that are run together."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from worker.backends.batching import kv_cache


class CacheBatch:
    """One list of layer caches for ``rows`` rows.

    A row alone keeps its own cache: that needs no mask for padding, and some models can run
    nothing else.
    """

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers
        self.rows = 1

    @classmethod
    def of(cls, rows: list[list[Any]]) -> CacheBatch:
        """A batch of rows' own caches."""
        batch = cls(rows[0] if len(rows) == 1 else kv_cache.merge(rows))
        batch.rows = len(rows)
        return batch

    def extend(self, other: CacheBatch) -> None:
        """Take over another batch's rows, behind those that are here."""
        for layer, more in zip(self._merged(), other._merged(), strict=True):
            layer.extend(more)
        self.rows += other.rows

    def extract(self, index: int) -> list[Any]:
        """A copy of one row's cache."""
        if self.rows == 1:
            return self.layers
        return [layer.extract(index) for layer in self.layers]

    def checkpoint(self, index: int) -> list[Any]:
        """A copy of what can't be cut of one row's cache, computed."""
        if self.rows == 1:
            kept = kv_cache.checkpoint(self.layers)
        else:
            kept = kv_cache.checkpoint_of(self.layers, index)
        kv_cache.settle([leaf for leaf in _caches(kept)])
        return kept

    def keep(self, indices: list[int]) -> None:
        """Drop all other rows; ``indices`` are in ascending order and not empty."""
        if len(indices) == self.rows:
            return
        if len(indices) == 1:
            self.layers = kv_cache.settle(self.extract(indices[0]))
        else:
            chosen = mx.array(indices)
            for layer in self.layers:
                layer.filter(chosen)
        self.rows = len(indices)

    def split(self, indices: list[int]) -> CacheBatch:
        """Take some rows, but not all, out into a batch of their own."""
        taken = CacheBatch.of([kv_cache.settle(self.extract(index)) for index in indices])
        self.keep([index for index in range(self.rows) if index not in indices])
        return taken

    def _merged(self) -> list[Any]:
        """The layers as a batch, also of a single row."""
        if self.rows == 1:
            self.layers = kv_cache.merge([self.layers])
        return self.layers


def _caches(kept: Any) -> list[Any]:
    """The caches in a checkpoint."""
    if isinstance(kept, list):
        return [cache for part in kept for cache in _caches(part)]
    return [] if kept is None else [kept]
