"""Drawing from many rows of logits, with the operations fused into fewer: their number is most of
what a draw takes.

MLX fuses them, but on the CPU it has g++ build the fused kernels when they are first used, half a
second for each, and keeps them on disk. No chat waits for that: a process of its own builds them,
and until it has, the operations are computed one by one. The numbers are the same.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import subprocess
import sys

import mlx.core as mx

HALVED_DOWN_TO = 256
"""Where partitioning is cheaper than sorting, a row is halved until so few values are left to be
sorted."""
log = logging.getLogger(__name__)


class _Kernels:
    """The fused kernels for rows of a length, which decides on the operations. The first
    question has them built."""

    def __init__(self) -> None:
        self._ready: dict[int, bool] = {}
        self._builders: dict[int, subprocess.Popen[bytes]] = {}

    def ready(self, length: int) -> bool:
        if length in self._builders:
            self._look(length)
        elif length not in self._ready:
            # A GPU's kernels are built in milliseconds, and without a compiler nothing is fused.
            self._ready[length] = not _on_cpu() or "MLX_DISABLE_COMPILE" in os.environ
            if not self._ready[length]:
                safe = ["-P"] if sys.flags.safe_path else []
                command = [
                    sys.executable,
                    *safe,
                    "-m",
                    "worker.backends.sampling.top_p",
                    str(length),
                ]
                self._builders[length] = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        return self._ready[length]

    def _look(self, length: int) -> None:
        status = self._builders[length].poll()
        if status is not None:
            del self._builders[length]
            self._ready[length] = status == 0
            if status:
                log.warning(
                    "the kernels for rows of %d could not be built: status %d", length, status
                )

    def stop(self) -> None:
        """End the building; nobody will ask any more."""
        for builder in self._builders.values():
            builder.kill()
            builder.wait()


_kernels = _Kernels()
atexit.register(_kernels.stop)


def _on_cpu() -> bool:
    return bool(mx.default_device().type == mx.DeviceType.cpu)


def perturbed(
    logits: mx.array, keys: mx.array, temperatures: mx.array, top_p: mx.array | None = None
) -> mx.array:
    """Logits with Gumbel noise: the largest of a row is a draw from its softmax (the Gumbel-max
    trick).

    ``logits`` is [rows, vocabulary] in fp32, ``keys`` [rows, 2] in uint32, ``temperatures`` [rows,
    1], and so is ``top_p``: with it, of each row's nucleus alone.
    """
    fused = _kernels.ready(logits.shape[-1])
    if top_p is None:
        return (_compiled_noisy if fused else noisy)(logits, keys, temperatures)
    return (_compiled_nucleus if fused else noisy_nucleus)(logits, keys, temperatures, top_p)


def noisy(logits: mx.array, keys: mx.array, temperatures: mx.array) -> mx.array:
    """What ``perturbed`` computes without top_p."""
    return logits / temperatures + mx.vmap(_gumbel, in_axes=(0, 0))(keys, logits)


def noisy_nucleus(
    logits: mx.array, keys: mx.array, temperatures: mx.array, top_p: mx.array
) -> mx.array:
    """What ``perturbed`` computes with it."""
    return noisy(nucleus(logits, top_p), keys, temperatures)


_compiled_noisy, _compiled_nucleus = mx.compile(noisy), mx.compile(noisy_nucleus)


def _gumbel(key: mx.array, logits: mx.array) -> mx.array:
    return mx.random.gumbel(logits.shape, key=key)


def nucleus(logits: mx.array, top_p: mx.array) -> mx.array:
    """Keep, in each row, the fewest likeliest tokens whose probability sums to more than ``top_p``;
    the rest get -inf.

    Holtzman et al., The curious case of neural text degeneration, 2020. Tokens as likely as the
    last one kept stay. ``logits`` is [rows, vocabulary] in fp32, ``top_p`` [rows, 1].
    """
    # A power of e, as in cpu_attention: the CPU backend takes less than half the time. The bound is
    # normalised instead.
    likely = mx.power(math.e, logits - mx.max(logits, axis=-1, keepdims=True))
    outside = (1 - top_p) * mx.sum(likely, axis=-1, keepdims=True)
    # The GPU backend partitions by sorting everything.
    few = HALVED_DOWN_TO if _on_cpu() else logits.shape[-1]
    threshold = mx.where(top_p >= 1, 0.0, least_kept(likely, outside, few))
    return mx.where(likely >= threshold, logits, -mx.inf)


def least_kept(values: mx.array, outside: mx.array, few: int) -> mx.array:
    """In each row, the first value, from the smallest up, with which the sum gets beyond
    ``outside``; or the largest.

    ``values``, [rows, n], must not be negative; ``outside`` and the answer are [rows, 1]. Rows are
    halved, and the half that holds the answer is looked at alone, while more than ``few`` values
    are left.
    """
    # Whole numbers are compared faster than floats, and order positive floats as these are ordered.
    left, below = values.view(mx.int32), mx.zeros_like(outside)
    while (count := left.shape[-1]) > few:
        half = count // 2
        left = mx.partition(left, half, axis=-1)
        lower = below + mx.sum(left[:, :half].view(mx.float32), axis=-1, keepdims=True)
        is_lower = lower > outside
        left = mx.where(is_lower, left[:, : count - half], left[:, half:])
        below = mx.where(is_lower, below, lower)
    ordered = mx.sort(left, axis=-1).view(mx.float32)
    beyond = below + mx.cumsum(ordered, axis=-1) > outside
    # Rounding can leave nothing beyond the bound when it is nearly everything: the largest always
    # stays.
    return mx.minimum(
        mx.min(mx.where(beyond, ordered, mx.inf), axis=-1, keepdims=True), ordered[:, -1:]
    )


def _build(length: int) -> None:
    """Use every kernel once."""
    os.nice(10)  # Whoever is answered meanwhile comes first.
    # With one row all arguments are contiguous, with more those of a column are repeated.
    for rows in (1, 2):
        logits, column = mx.zeros((rows, length)), mx.ones((rows, 1))
        keys = mx.zeros((rows, 2), dtype=mx.uint32)
        mx.eval(
            _compiled_noisy(logits, keys, column), _compiled_nucleus(logits, keys, column, column)
        )


if __name__ == "__main__":
    _build(int(sys.argv[1]))
