"""Part of top-p on MLX's CPU backend, where partitioning a row is cheaper than sorting it.

The GPU backend partitions by sorting everything.
"""

from __future__ import annotations

import mlx.core as mx

SORTED_AT_ONCE = 256
"""Rows are halved until so few values remain."""


def narrow(values: mx.array, outside: mx.array) -> tuple[mx.array, mx.array]:
    """In each row, the few values around the one at which the sum from the smallest up exceeds
    ``outside``, and the sum of the values below them.

    ``values``, [rows, n], are the bits of floats that are not negative: whole numbers are compared
    faster, and order such floats as these are ordered. ``outside`` and the sum are [rows, 1].
    """
    remaining, below = values, mx.zeros_like(outside)
    while (count := remaining.shape[-1]) > SORTED_AT_ONCE:
        half = count // 2
        remaining = mx.partition(remaining, half, axis=-1)
        lower = below + mx.sum(remaining[:, :half].view(mx.float32), axis=-1, keepdims=True)
        is_lower = lower > outside
        remaining = mx.where(is_lower, remaining[:, : count - half], remaining[:, half:])
        below = mx.where(is_lower, below, lower)
    return remaining, below
