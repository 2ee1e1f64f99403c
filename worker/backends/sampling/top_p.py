"""Sampling from many rows of logits by Gumbel noise, with temperature and top-p.

The operations are fused into few kernels (``mx.compile``): their number is most of what sampling
takes.
"""

from __future__ import annotations

import math

import mlx.core as mx

from worker.backends.cpu import partition
from worker.backends.cpu.kernel_builder import KernelBuilder
from worker.backends.device import on_cpu

FUSED_BELOW = 1 << 14
"""Words of a vocabulary from which on the CPU's fused kernels take longer than one operation after
another, by up to 1.4 times for eight rows. It depends on nothing else: a row's operations must be
the same alone and in a batch."""
_cpu_kernels = KernelBuilder("worker.backends.sampling.top_p")


def gumbel_max(
    logits: mx.array, keys: mx.array, temperatures: mx.array, top_p: mx.array | None = None
) -> mx.array:
    """Logits with Gumbel noise: the argmax of a row is a sample of its softmax (the Gumbel-max
    trick).

    ``logits`` is [rows, vocabulary] in fp32, ``keys`` [rows, 2] in uint32, ``temperatures`` [rows,
    1], and so is ``top_p``: with it, only each row's nucleus is sampled from.
    """
    # A GPU's kernels are built in milliseconds.
    length = logits.shape[-1]
    fused = not on_cpu() or (length < FUSED_BELOW and _cpu_kernels.ready(length))
    if top_p is None:
        return (_compiled_noise if fused else gumbel_noise)(logits, keys, temperatures)
    return (_compiled_top_p if fused else gumbel_top_p)(logits, keys, temperatures, top_p)


def gumbel_noise(logits: mx.array, keys: mx.array, temperatures: mx.array) -> mx.array:
    """What ``gumbel_max`` computes without top_p."""
    return logits / temperatures + mx.vmap(_gumbel, in_axes=(0, 0))(keys, logits)


def gumbel_top_p(
    logits: mx.array, keys: mx.array, temperatures: mx.array, top_p: mx.array
) -> mx.array:
    """What ``gumbel_max`` computes with top_p."""
    return gumbel_noise(nucleus(logits, top_p), keys, temperatures)


_compiled_noise, _compiled_top_p = mx.compile(gumbel_noise), mx.compile(gumbel_top_p)


def compile_kernels(length: int) -> None:
    """Use every kernel for rows of this length once."""
    # With one row all arguments are contiguous, with more those of a column are repeated.
    for rows in (1, 2):
        logits, column = mx.zeros((rows, length)), mx.ones((rows, 1))
        keys = mx.zeros((rows, 2), dtype=mx.uint32)
        mx.eval(
            _compiled_noise(logits, keys, column), _compiled_top_p(logits, keys, column, column)
        )


def _gumbel(key: mx.array, logits: mx.array) -> mx.array:
    return mx.random.gumbel(logits.shape, key=key)


def nucleus(logits: mx.array, top_p: mx.array) -> mx.array:
    """Keep, in each row, the fewest likeliest tokens whose probability sums to more than ``top_p``;
    the rest get -inf.

    Holtzman et al., The curious case of neural text degeneration, 2020. Tokens as likely as the
    last one kept stay. ``logits`` is [rows, vocabulary] in fp32, ``top_p`` [rows, 1].
    """
    # A power of e, as in cpu.attention: the CPU backend takes less than half the time. The bound is
    # normalised instead.
    likely = mx.power(math.e, logits - mx.max(logits, axis=-1, keepdims=True))
    outside = (1 - top_p) * mx.sum(likely, axis=-1, keepdims=True)
    threshold = mx.where(top_p >= 1, 0.0, nucleus_threshold(likely, outside))
    return mx.where(likely >= threshold, logits, -mx.inf)


def nucleus_threshold(values: mx.array, outside: mx.array) -> mx.array:
    """In each row, the first value, from the smallest up, with which the sum exceeds ``outside``;
    or the largest.

    ``values``, [rows, n], must not be negative; ``outside`` and the result are [rows, 1].
    """
    # Whole numbers are compared faster than floats, and order positive floats as these are ordered.
    bits, below = values.view(mx.int32), mx.zeros_like(outside)
    if on_cpu():
        bits, below = partition.narrow(bits, outside)
    ordered = mx.sort(bits, axis=-1).view(mx.float32)
    beyond = below + mx.cumsum(ordered, axis=-1) > outside
    # Rounding can leave nothing beyond the bound when it is nearly everything: the largest always
    # stays.
    return mx.minimum(
        mx.min(mx.where(beyond, ordered, mx.inf), axis=-1, keepdims=True), ordered[:, -1:]
    )
