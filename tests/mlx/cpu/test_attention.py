"""Attention on the CPU: equal to the library's but for rounding."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from worker.backends.cpu.attention import quick_attention


def rounding(found: mx.array, *inputs: mx.array) -> float:
    """The largest difference from attention in double precision."""
    q, k, v = (np.array(array).astype(np.float64) for array in inputs)
    scores = 0.25 * q @ k.swapaxes(-1, -2)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return float(np.abs(np.array(found) - weights / weights.sum(axis=-1, keepdims=True) @ v).max())


def test_attention_with_a_mask_or_over_nothing_stays_the_librarys() -> None:
    q = mx.random.normal((1, 2, 9, 16), key=mx.random.key(1))
    masked = mx.fast.scaled_dot_product_attention(q, q, q, scale=0.25, mask="causal")
    with quick_attention():
        assert mx.array_equal(
            mx.fast.scaled_dot_product_attention(q, q, q, scale=0.25, mask="causal"), masked
        )
        none = q[:, :, :0]
        assert (
            mx.fast.scaled_dot_product_attention(none, none, none, scale=0.25, mask=None).shape
            == none.shape
        )


@pytest.mark.parametrize("shape", [(1, 2, 37, 16), (1, 4, 400, 80)])
def test_attention_without_exponentials_is_the_librarys_but_for_rounding(
    shape: tuple[int, ...],
) -> None:
    library = mx.fast.scaled_dot_product_attention
    q, k, v = (mx.random.normal(shape, key=mx.random.key(i)) for i in range(3))
    for size in (1.0, 30.0):  # Flat weights, and weights of which one is nearly 1.
        theirs = library(q * size, k, v, scale=0.25)
        with quick_attention():
            ours = mx.fast.scaled_dot_product_attention(q * size, k, v, scale=0.25, mask=None)
        assert rounding(ours, q * size, k, v) < 2 * rounding(theirs, q * size, k, v)
    assert mx.fast.scaled_dot_product_attention is library
