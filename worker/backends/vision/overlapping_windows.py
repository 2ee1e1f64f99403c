"""What DeepSeek V4 keeps of its windows of four tokens.

Each window is pooled into one key together with the one before. mlx_vlm forgets that one at the end
of each call, so that the text would depend on where a prompt is cut, and each token of an answer
would be a cut. The caches here keep it, and hand it in as a first window, whose own key is dropped.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_vlm.models.cache import BatchPoolingCache, CacheList, PoolingCache

RATIO = 4
"""Tokens of the windows that overlap."""
Windows = tuple[mx.array, mx.array, Any]
"""Values and gates, [rows, tokens, size], and the position of the first token."""


def keep_windows(language: Any) -> None:
    """Have a language model make such caches for its layers with windows that overlap."""
    plain = language.make_cache

    def make_cache() -> list[Any]:
        return [_keeping(layer) for layer in plain()]

    language.make_cache = make_cache


def _keeping(layer: Any) -> Any:
    if isinstance(layer, CacheList):
        return CacheList(*map(_keeping, layer.caches))
    overlaps = type(layer) is PoolingCache and layer.ratio == RATIO
    return OverlappingWindows(RATIO) if overlaps else layer


def _none_before(like: mx.array, value: float, rows: int) -> mx.array:
    """What stands before a prompt's first window: values of 0, whose gates are closed."""
    return mx.full((rows, RATIO, like.shape[-1]), value, dtype=like.dtype)


class OverlappingWindows(PoolingCache):  # type: ignore[misc]
    """Of one row."""

    def __init__(self, ratio: int) -> None:
        super().__init__(ratio)
        self.last: tuple[mx.array, mx.array] | None = None
        """The last whole window's values and gates, [1, tokens, size]."""

    def accumulate_windows(self, kv: mx.array, gate: mx.array, offset: Any) -> Windows:
        """The new windows, with the one before in front."""
        values, gates, first = super().accumulate_windows(kv, gate, offset)
        if not values.shape[1]:
            return values, gates, first
        before = self.last or (_none_before(kv, 0, 1), _none_before(gate, -mx.inf, 1))
        self.last = values[:, -RATIO:], gates[:, -RATIO:]
        return (*_joined(before, (values, gates)), first - RATIO)

    def update_and_fetch(self, px: mx.array) -> mx.array:
        return super().update_and_fetch(px[:, 1:])

    @property
    def nbytes(self) -> int:
        held: int = super().nbytes + sum(array.nbytes for array in self.last or ())
        return held

    @classmethod
    def merge(cls, caches: list[OverlappingWindows], prefix_lens: Any = None) -> Any:
        del prefix_lens
        return BatchOverlappingWindows.merge(caches)


class BatchOverlappingWindows(BatchPoolingCache):  # type: ignore[misc]
    """Of the rows of a batch. ``last`` is [rows, tokens, size], None while no row has any."""

    last: tuple[mx.array, mx.array] | None = None

    def accumulate_windows(self, kv: mx.array, gate: mx.array, offset: Any) -> Windows:
        values, gates, first = super().accumulate_windows(kv, gate, offset)
        if not values.shape[1]:
            return values, gates, first
        rows = kv.shape[0]
        before = self.last or (_none_before(kv, 0, rows), _none_before(gate, -mx.inf, rows))
        joined = _joined(before, (values, gates))
        # Where a row has no new window, its last one stays.
        ends = [RATIO * count for count in self._new_windows()]
        self.last = _ending_at(joined[0], ends), _ending_at(joined[1], ends)
        return (*joined, first - RATIO)

    def _new_windows(self) -> list[int]:
        """How many windows each row has that aren't pooled yet."""
        ratio, remainders, pooled, processed, _ = self.meta_state
        rows = zip(processed, remainders, pooled, strict=True)
        return [(read - left) // ratio - count for read, left, count in rows]

    def update_and_fetch(self, px: mx.array) -> mx.array:
        return super().update_and_fetch(px[:, 1:])

    def filter(self, batch_indices: Any) -> None:
        super().filter(batch_indices)
        if self.last is not None:
            self.last = self.last[0][batch_indices], self.last[1][batch_indices]

    def extend(self, other: BatchOverlappingWindows) -> None:
        sizes = self.batch_size, other.batch_size
        super().extend(other)
        self.last = _below((self.last, other.last), sizes)

    def extract(self, idx: int) -> OverlappingWindows:
        plain = super().extract(idx)
        row = OverlappingWindows(self.ratio)
        for name, value in vars(plain).items():
            setattr(row, name, value)
        if self.last is not None:
            row.last = self.last[0][idx : idx + 1], self.last[1][idx : idx + 1]
        return row

    @classmethod
    def merge(cls, caches: list[OverlappingWindows], prefix_lens: Any = None) -> Any:
        merged = super().merge(caches, prefix_lens)
        merged.last = _below([cache.last for cache in caches], [1] * len(caches))
        return merged


def _joined(
    before: tuple[mx.array, mx.array], new: tuple[mx.array, mx.array]
) -> tuple[mx.array, mx.array]:
    """Windows one after another."""
    values, gates = (mx.concatenate(pair, axis=1) for pair in zip(before, new, strict=True))
    return values, gates


def _ending_at(windows: mx.array, ends: list[int]) -> mx.array:
    """The window of each row that begins at one of these tokens."""
    places = mx.array(ends)[:, None] + mx.arange(RATIO)
    return mx.take_along_axis(windows, places[..., None], axis=1)


def _below(parts: Any, sizes: Any) -> tuple[mx.array, mx.array] | None:
    """The last windows of rows one below another; ``sizes`` are the rows of each part."""
    some = next((part for part in parts if part is not None), None)
    if some is None:
        return None
    whole = [
        part or (_none_before(some[0], 0, rows), _none_before(some[1], -mx.inf, rows))
        for part, rows in zip(parts, sizes, strict=True)
    ]
    values, gates = (mx.concatenate(list(one)) for one in zip(*whole, strict=True))
    return values, gates
