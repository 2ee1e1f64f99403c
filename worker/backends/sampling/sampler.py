"""Samples the tokens of all rows of a batch together, each row keyed by its own (seed, position).

A row's token depends only on its logits, settings, seed and position: not on its neighbours, the
order of the rows or what the process did before. So a seeded answer is the same alone, in a batch
and after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from wire.messages import GREEDY_BELOW, NO_PENALTY, SMALLEST_PENALTY, Sampling
from worker.backends.sampling.logits_processors import LogitsProcessor
from worker.backends.sampling.top_p import gumbel_max

PENALTY_WINDOW = 20
"""Last tokens to which the repetition penalty applies, those of the prompt included: mlx_lm's
default."""
_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """One output of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
    generators, 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@dataclass(slots=True)
class RowSampler:
    """One row's settings. ``position`` counts the tokens of the answer that have been sampled.

    ``processor`` changes the row's logits by the answer so far; most rows have none.
    """

    temperature: float
    top_p: float
    penalty: float
    seed: int
    position: int
    processor: LogitsProcessor | None = None

    @classmethod
    def of(
        cls, sampling: Sampling, position: int, processor: LogitsProcessor | None = None
    ) -> RowSampler:
        penalty = 1.0 if sampling.repetition_penalty in NO_PENALTY else sampling.repetition_penalty
        penalty = max(penalty, SMALLEST_PENALTY)
        return cls(
            sampling.temperature, sampling.top_p, penalty, sampling.seed, position, processor
        )

    @property
    def is_greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW or self.top_p == 0

    def next_key(self) -> tuple[int, int]:
        """The random key of this position, as MLX takes it (two 32-bit words); moves on to the
        next position."""
        mixed = _mix(_mix(self.seed & _MASK) ^ self.position)
        self.position += 1
        return mixed >> 32, mixed & 0xFFFFFFFF


def sample(logits: mx.array, rows: Rows[RowSampler], recent: mx.array | None) -> mx.array:
    """The next token of each row.

    ``logits`` is [rows, vocabulary]; ``recent`` is [rows, PENALTY_WINDOW] token ids, or None when
    no row has a penalty. Returns [rows] token ids, unevaluated. As in mlx_lm, the penalty comes
    first, top_p is measured before the temperature, and a temperature of (nearly) 0 takes the
    likeliest token.
    """
    keys = [row.next_key() for row in rows]
    if recent is not None:
        logits = penalise(
            logits, recent, mx.array([[row.penalty] for row in rows], dtype=logits.dtype)
        )
    if all(row.is_greedy for row in rows):
        return mx.argmax(logits, axis=-1)
    logits = logits.astype(mx.float32)
    top_p = None
    if any(row.top_p < 1 and not row.is_greedy for row in rows):
        top_p = mx.array([[row.top_p] for row in rows])
    temperatures = mx.array([[1.0 if row.is_greedy else row.temperature] for row in rows])
    noisy = gumbel_max(logits, mx.array(np.array(keys, dtype=np.uint32)), temperatures, top_p)
    if any(row.is_greedy for row in rows):
        noisy = mx.where(mx.array([[row.is_greedy] for row in rows]), logits, noisy)
    return mx.argmax(noisy, axis=-1)


def penalise(logits: mx.array, recent: mx.array, penalties: mx.array) -> mx.array:
    """Apply the repetition penalty to recent tokens: divide positive logits, multiply negative
    ones.

    From Keskar et al., CTRL, 2019 (section 4.1), in the form that mlx_lm and Hugging Face use.
    """
    chosen = mx.take_along_axis(logits, recent, axis=-1)
    chosen = mx.where(chosen < 0, chosen * penalties, chosen / penalties)
    return mx.put_along_axis(logits, recent, chosen, axis=-1)


def window(tokens: Rows[int]) -> list[int]:
    """The last tokens of a row, padded with -1."""
    last = list(tokens[-PENALTY_WINDOW:])
    return [-1] * (PENALTY_WINDOW - len(last)) + last


class RecentTokens:
    """The tokens to which penalties apply, [rows, PENALTY_WINDOW], on the device.

    Rebuilt from the host's lists only when the rows change: a step must not wait for its own
    tokens.
    """

    def __init__(self) -> None:
        self._array: mx.array | None = None
        self._rows: tuple[object, ...] = ()

    def advance(
        self,
        rows: Rows[object],
        samplers: Rows[RowSampler],
        histories: Rows[Rows[int]],
        inputs: mx.array,
    ) -> mx.array | None:
        """Add this step's input tokens; returns what :func:`sample` needs, None if no row has a
        penalty.

        ``rows`` identifies the rows; ``histories`` are their tokens before ``inputs``, which is
        [rows].
        """
        if all(sampler.penalty == 1.0 for sampler in samplers):
            self._array = None
            return None
        if self._array is None or self._rows != tuple(rows):
            self._array = mx.array([window(history) for history in histories])
            self._rows = tuple(rows)
        column = inputs[:, None].astype(self._array.dtype)
        self._array = mx.concatenate([self._array[:, 1:], column], axis=1)
        mx.async_eval(self._array)
        return mx.where(self._array < 0, column, self._array)
