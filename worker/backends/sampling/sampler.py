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

from wire.messages import (
    GREEDY_BELOW,
    NO_PENALTY,
    REPETITION_CONTEXT_SIZE,
    SMALLEST_PENALTY,
    Sampling,
)
from worker.backends.sampling.filters import Filters, keep_likely
from worker.backends.sampling.logit_bias import LogitBias, logit_bias_of
from worker.backends.sampling.logits_processors import LogitsProcessor
from worker.backends.sampling.repetition_penalty import context_size
from worker.backends.sampling.special_tokens import NO_SPECIAL_TOKENS, SpecialTokens, held_back
from worker.backends.sampling.top_p import gumbel_max

Key = tuple[int, int]
"""A random key as MLX takes it: two 32-bit words."""
_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """One output of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
    generators, 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def coin_of(key: Key) -> float:
    """XTC's coin of the position with this key, 0 to 1: from a second key, made of the first."""
    return (_mix(key[0] << 32 | key[1]) >> 11) / (1 << 53)


@dataclass(slots=True)
class RowSampler:
    """One row's settings. ``position`` counts the tokens of the answer that have been sampled.

    ``processor`` changes the row's logits by the answer so far; ``bias`` changes single ones,
    whatever the answer says; ``filters`` leave tokens out. Most rows have none of them.
    ``context_size`` is how many of the last tokens ``penalty`` applies to.
    """

    temperature: float
    top_p: float
    penalty: float
    seed: int
    position: int
    processor: LogitsProcessor | None = None
    bias: LogitBias | None = None
    filters: Filters | None = None
    context_size: int = REPETITION_CONTEXT_SIZE

    @classmethod
    def of(
        cls,
        sampling: Sampling,
        position: int,
        processor: LogitsProcessor | None = None,
        *,
        special: SpecialTokens = NO_SPECIAL_TOKENS,
        longest: int = 0,
    ) -> RowSampler:
        """``special`` are the model's special tokens; ``longest`` is how many tokens the row may
        have at its end, the prompt's included."""
        penalty = 1.0 if sampling.repetition_penalty in NO_PENALTY else sampling.repetition_penalty
        # A schema may leave nothing but an end: its mask decides what is held back.
        held = (
            [] if processor is not None and processor.constrained else held_back(sampling, special)
        )
        return cls(
            sampling.temperature,
            sampling.top_p,
            max(penalty, SMALLEST_PENALTY),
            sampling.seed,
            position,
            processor,
            logit_bias_of(sampling.logit_bias, held, sampling.min_tokens),
            Filters.of(sampling, special.kept_by_xtc),
            context_size(sampling.repetition_context_size, longest),
        )

    @property
    def is_greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW or self.top_p == 0

    def next_key(self) -> Key:
        """The random key of this position; moves on to the next position."""
        mixed = _mix(_mix(self.seed & _MASK) ^ self.position)
        self.position += 1
        return mixed >> 32, mixed & 0xFFFFFFFF


def sample(logits: mx.array, rows: Rows[RowSampler]) -> mx.array:
    """The next token of each row.

    ``logits`` is [rows, vocabulary], processed. Returns [rows] token ids, unevaluated. As in
    mlx_lm, tokens are filtered before the temperature, and a temperature of (nearly) 0 takes the
    likeliest token. Rows with filters are sampled by themselves: the others' operations stay what
    they are without such rows.
    """
    keys = [row.next_key() for row in rows]
    filtered = [i for i, row in enumerate(rows) if row.filters is not None and not row.is_greedy]
    if not filtered:
        return _draw(logits, rows, keys)
    if len(filtered) == len(rows):
        return _draw_filtered(logits, rows, keys)
    others = sorted(set(range(len(rows))) - set(filtered))
    tokens = mx.concatenate(
        [
            draw(logits[mx.array(some)], [rows[i] for i in some], [keys[i] for i in some])
            for draw, some in ((_draw, others), (_draw_filtered, filtered))
        ]
    )
    return tokens[mx.array(np.argsort([*others, *filtered]).astype(np.int32))]


def _draw(logits: mx.array, rows: Rows[RowSampler], keys: Rows[Key]) -> mx.array:
    """The next tokens of rows without filters."""
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


def _draw_filtered(logits: mx.array, rows: Rows[RowSampler], keys: Rows[Key]) -> mx.array:
    """The next tokens of rows with filters."""
    filters = [row.filters for row in rows if row.filters is not None]
    likely = keep_likely(logits, filters, [coin_of(key) for key in keys])
    temperatures = mx.array([[row.temperature] for row in rows])
    noisy = gumbel_max(likely, mx.array(np.array(keys, dtype=np.uint32)), temperatures)
    return mx.argmax(noisy, axis=-1)
