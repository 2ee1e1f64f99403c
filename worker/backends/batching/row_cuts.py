"""Batches of key-value caches whose rows can be cut by different lengths.

The libraries' batches end at one position for all rows. When rows keep unequal parts of what they
were fed, those that keep less have a gap before what they are fed next: attention leaves it out,
and from time to time, and whenever rows join or leave, gaps are closed. Without gaps these are the
libraries' caches; they have their names, too: caches are told apart by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map
from mlx_lm.models import cache as lm_cache
from numpy.typing import NDArray

LARGEST_GAPS = 0.25
"""Share of a batch's positions that may be gaps before they are closed, which copies the batch."""


class Gaps:
    """Where the rows of a batch have gaps: the same in all of its layers."""

    def __init__(self) -> None:
        self._filled: NDArray[np.bool_] | None = None
        """[rows, positions]: False in a gap. Padding counts as filled: masks leave it out anyway.
        None without gaps."""

    def __bool__(self) -> bool:
        return self._filled is not None

    @property
    def too_large(self) -> bool:
        return self._filled is not None and 1 - float(self._filled.mean()) > LARGEST_GAPS

    def note(self, dropped: Sequence[int], end: int) -> None:
        """Of each row the last so many of the first ``end`` positions are a gap now."""
        filled = self._up_to(end, len(dropped))
        for row, count in enumerate(dropped):
            filled[row, end - count :] = False
        self._filled = filled

    def mask(self, end: int, new: int, window: int | None) -> mx.array:
        """Where the last ``new`` of ``end`` positions may not look because of gaps, and of a
        window's size, is False: [rows, 1, new, positions]."""
        self._filled = filled = self._up_to(end)
        if window is None:
            return mx.array(filled[:, None, None, :])
        # Gaps make the way back longer.
        places = filled.cumsum(axis=1, dtype=np.int32)
        near = places[:, end - new :, None] < places[:, None, :] + window
        return mx.array((near & filled[:, None, :])[:, None])

    def close(self, end: int) -> tuple[mx.array, mx.array]:
        """How to close them: for each row the first ``end`` positions in their new order, gaps
        first, and how many of them are gaps. Afterwards there are none."""
        filled = self._up_to(end)
        self._filled = None
        order = np.argsort(filled, axis=1, kind="stable").astype(np.int32)
        return mx.array(order), mx.array((~filled).sum(axis=1).astype(np.int32))

    def _up_to(self, end: int, rows: int = 0) -> NDArray[np.bool_]:
        """A copy for so many positions; what isn't known yet is filled."""
        known = self._filled
        filled = np.ones((rows if known is None else len(known), end), dtype=np.bool_)
        if known is not None:
            kept = known[:, :end]
            filled[:, : kept.shape[1]] = kept
        return filled


class RowCuts:
    """A base beside a library's class for a batch of rows."""

    keys: Any
    values: Any
    offset: mx.array
    left_padding: mx.array
    _idx: int
    gaps: Gaps | None = None
    """Those of the batch of layers that this one belongs to."""

    def make_mask(
        self, N: int, return_array: bool = False, window_size: int | None = None, **kwargs: Any
    ) -> Any:
        library: Any = super()
        if not self.gaps:
            return library.make_mask(N, return_array, window_size=window_size, **kwargs)
        mask = library.make_mask(N, return_array, **kwargs)
        return mask & self.gaps.mask(self._idx + N, N, window_size)

    def drop(self, common: int, dropped: mx.array) -> None:
        """Cut ``common`` positions off the end, and take so many tokens from each row, [rows],
        those included: the rest of them becomes a gap."""
        self._idx -= common
        self.offset = self.offset - dropped

    def move(self, order: mx.array, gaps: mx.array) -> None:
        """Bring each row's positions into this order, [rows, positions], of which the first are
        what were gaps, and become padding."""

        def moved(array: mx.array) -> mx.array:
            # Whole positions are copied, row by row: faster than element by element.
            return mx.stack([mx.take(row, at, axis=1) for row, at in zip(array, order)])  # noqa: B905

        if self.keys is not None:
            self.keys, self.values = tree_map(moved, (self.keys, self.values))
        self.left_padding = self.left_padding + gaps


class BatchRotatingKVCache(lm_cache.BatchRotatingKVCache):  # type: ignore[misc]
    """Rows of mlx_lm's RotatingKVCache.

    They can be cut right after several tokens were fed at once, by less than all of these: for
    that, the library appends them to a whole window less one token. One token by itself takes the
    place of the oldest in a full window.
    """

    keys: mx.array
    values: mx.array
    offset: mx.array
    left_padding: mx.array
    _idx: int
    _offset: int

    def make_mask(self, N: int, *args: Any, **kwargs: Any) -> Any:
        if N > 1:
            # The library brings a window into order only after its mask, which is then too narrow
            # for rows that don't fill the window.
            self._temporal_order()
        return super().make_mask(N, *args, **kwargs)

    def cut(self, dropped: Sequence[int]) -> None:
        """Take the last so many tokens from each row; what were gaps becomes padding."""
        common = min(dropped)
        self._idx -= common
        self._offset -= common
        gaps = [count - common for count in dropped]

        def moved(array: mx.array) -> mx.array:
            kept = array[..., : self._idx, :]
            if not any(gaps):
                return kept
            return mx.stack([mx.roll(row, gap, axis=1) for row, gap in zip(kept, gaps)])  # noqa: B905

        self.keys, self.values = moved(self.keys), moved(self.values)
        self.left_padding = self.left_padding + mx.array(gaps)
        self.offset = self.offset - mx.array(dropped)


class BatchKVCache(RowCuts, lm_cache.BatchKVCache):  # type: ignore[misc]
    """Rows of mlx_lm's KVCache."""

    @classmethod
    def merge(cls, caches: list[lm_cache.KVCache]) -> BatchKVCache:
        """A batch of these rows."""
        if all(cache.empty() for cache in caches):
            return cls([0] * len(caches))  # The library would make one of its own class.
        batch: BatchKVCache = super().merge(caches)
        return batch
