"""Quantised key-value caches of a row and of a batch: mlx_vlm's, with what mlx_lm's models and the
batch loop also ask of a cache.

They have the libraries' names: caches are told apart by name.
"""

from __future__ import annotations

from typing import Any

from mlx_vlm.models import cache as vlm_cache

from worker.backends.batching.row_cuts import RowCuts


class QuantizedKVCache(vlm_cache.QuantizedKVCache):
    """The cache of one row."""

    def keys_and_values(self) -> tuple[Any, Any]:
        """All that the cache holds: layers without keys of their own read another layer's."""
        keys, values = self.state
        return keys, values

    @classmethod
    def merge(cls, rows: list[QuantizedKVCache]) -> BatchQuantizedKVCache:
        """A batch of these rows, which have the same bits and group size."""
        first, *others = (row.as_batch() for row in rows)
        for other in others:
            first.extend(other)
        return first

    def as_batch(self) -> BatchQuantizedKVCache:
        """A batch of this row alone."""
        batch = BatchQuantizedKVCache([0], group_size=self.group_size, bits=self.bits)
        if self.keys is not None:
            batch.keys = tuple(part[..., : self.offset, :] for part in self.keys)
            batch.values = tuple(part[..., : self.offset, :] for part in self.values)
            batch.offset = batch.offset + self.offset
            batch._idx = self.offset
        return batch


class BatchQuantizedKVCache(RowCuts, vlm_cache.BatchQuantizedKVCache):
    """The caches of several rows."""

    def keys_and_values(self) -> tuple[Any, Any]:
        """The same of all rows."""
        keys, values, *_ = self.state
        return keys, values

    def extract(self, index: int) -> QuantizedKVCache:
        """A copy of one row's cache."""
        found = super().extract(index)
        row = QuantizedKVCache(group_size=self.group_size, bits=self.bits)
        row.keys, row.values, row.offset = found.keys, found.values, found.offset
        return row
