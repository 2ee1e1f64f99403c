"""Log-probabilities of tokens, for the rows that ask for them: a log-softmax of the model's logits
as they are, in fp32, before penalties, masks, temperature and filters.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from worker.logprobs import Measured

AT_ONCE = 64
"""Positions of a prompt whose logits are widened to fp32 at once: with a vocabulary of 262,144
words these are 67 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """What is being computed on the device: for each of some rows the log-probability of its token
    and those of the likeliest tokens, [rows, 1 + likeliest], and the ids of these.

    ``wanted`` says how many of the likeliest each row asks for.
    """

    rows: tuple[Any, ...]
    wanted: tuple[int, ...]
    values: mx.array
    ids: mx.array

    def read(self) -> list[tuple[Any, Measured]]:
        """The rows with what has been computed; waits for it."""
        parts = zip(self.rows, self.wanted, self.values.tolist(), self.ids.tolist(), strict=True)
        return [(row, _measured(values, ids, count)) for row, count, values, ids in parts]


def measure(
    logits: mx.array, tokens: mx.array, rows: Items[Any], wanted: Items[int | None]
) -> Measurement | None:
    """Begin to measure the tokens of the rows that ask for it; None if no row does.

    ``logits`` is [rows, vocabulary], ``tokens`` [rows] ids.
    """
    asking = [(index, count) for index, count in enumerate(wanted) if count is not None]
    if not asking:
        return None
    if len(asking) < len(rows):
        chosen = mx.array([index for index, _ in asking])
        logits, tokens = logits[chosen], tokens[chosen]
    counts = tuple(count for _, count in asking)
    values, ids = _likeliest(logits, tokens, max(counts))
    return Measurement(tuple(rows[index] for index, _ in asking), counts, values, ids)


def measure_prompt(logits: mx.array, tokens: Items[int], likeliest: int) -> list[Measured]:
    """Measure consecutive tokens of a prompt. ``logits`` is [tokens, vocabulary]."""
    found: list[Measured] = []
    for start in range(0, len(tokens), AT_ONCE):
        part = tokens[start : start + AT_ONCE]
        measurement = measure(
            logits[start : start + len(part)],
            mx.array(part, dtype=mx.int32),
            part,
            [likeliest] * len(part),
        )
        assert measurement is not None, "every token asks"
        found += (one for _, one in measurement.read())
    return found


def _likeliest(logits: mx.array, tokens: mx.array, count: int) -> tuple[mx.array, mx.array]:
    logits = logits.astype(mx.float32)
    count = min(count, logits.shape[-1])
    ids = tokens[:, None]
    if count:
        # They come in no order: the host sorts the few that there are.
        best = mx.argpartition(logits, kth=logits.shape[-1] - count, axis=-1)[:, -count:]
        ids = mx.concatenate([ids, best.astype(ids.dtype)], axis=-1)
    whole = mx.logsumexp(logits, axis=-1, keepdims=True)
    return mx.take_along_axis(logits, ids, axis=-1) - whole, ids[:, 1:]


def _measured(values: list[float], ids: list[int], count: int) -> Measured:
    logprob, *others = values
    top = sorted(zip(ids, others, strict=True), key=lambda one: (-one[1], one[0]))
    return Measured(logprob, tuple(top[:count]))
