"""The filters that leave a row its likelier tokens, besides top_p alone: min_p, XTC and top_k.

The order is that of mlx_lm's ``make_sampler``: top_p, min_p, XTC, top_k, each of what the one
before has kept. Rows without these filters never come here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Rows
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from wire.messages import Sampling
from worker.backends.sampling.special_tokens import NO_TOKENS
from worker.backends.sampling.top_p import nucleus

OFF = 0
"""The top_k of a row without one."""


@dataclass(frozen=True, slots=True)
class Filters:
    """One row's. ``never_dropped`` are the tokens that XTC leaves in, the same for all rows of a
    model."""

    top_p: float
    min_p: float
    xtc_probability: float
    xtc_threshold: float
    top_k: int
    never_dropped: frozenset[int] = NO_TOKENS

    @classmethod
    def of(cls, sampling: Sampling, never_dropped: frozenset[int]) -> Filters | None:
        """The filters that a request asks for; None if it is none, or top_p alone."""
        top_k = max(sampling.top_k, OFF)
        if not (top_k or sampling.min_p > 0 or sampling.xtc_probability > 0):
            return None
        return cls(
            sampling.top_p,
            sampling.min_p,
            sampling.xtc_probability,
            sampling.xtc_threshold,
            top_k,
            never_dropped,
        )

    def xtc_bound(self, coin: float) -> float:
        """The probability from which tokens are dropped when this coin, 0 to 1, has been tossed."""
        applies = 0 < self.xtc_probability >= coin
        return self.xtc_threshold if applies else math.inf


def keep_likely(logits: mx.array, rows: Rows[Filters], coins: Rows[float]) -> mx.array:
    """Log-probabilities [rows, vocabulary] in fp32, minus infinity for tokens that a row's filters
    leave out.

    ``logits`` is [rows, vocabulary]; ``coins`` are XTC's, one a row. A filter that a row doesn't
    ask for changes nothing in it.
    """
    logits = logits.astype(mx.float32)
    kept = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    if any(row.top_p < 1 for row in rows):
        kept = nucleus(kept, mx.array([[row.top_p] for row in rows]))
    if any(row.min_p > 0 for row in rows):
        kept = at_least(kept, mx.array([[_log(row.min_p)] for row in rows]))
    bounds = [row.xtc_bound(coin) for row, coin in zip(rows, coins, strict=True)]
    if min(bounds) < math.inf:
        kept = without_top_choices(kept, mx.array([[b] for b in bounds]), rows[0].never_dropped)
    counts = [row.top_k if row.top_k < kept.shape[-1] else OFF for row in rows]
    return likeliest(kept, counts) if any(counts) else kept


def _log(min_p: float) -> float:
    return math.log(min_p) if min_p > 0 else -math.inf


def at_least(logprobs: mx.array, log_min_p: mx.array) -> mx.array:
    """Keep, in each row, the tokens that are at least so likely in relation to the likeliest.

    ``log_min_p`` [rows, 1] is the logarithm of that. Nguyen et al., Turning up the heat: min-p
    sampling for creative and coherent LLM outputs, 2024.
    """
    bound = mx.max(logprobs, axis=-1, keepdims=True) + log_min_p
    return mx.where(logprobs < bound, -mx.inf, logprobs)


def without_top_choices(
    logprobs: mx.array, thresholds: mx.array, never_dropped: frozenset[int]
) -> mx.array:
    """Drop, in each row, all but the least likely of the tokens that are likelier than its
    threshold, [rows, 1]: exclude top choices (XTC).

    The probabilities are those among the tokens that are left.
    """
    likely = mx.softmax(logprobs, axis=-1)
    least = mx.min(mx.where(likely > thresholds, likely, mx.inf), axis=-1, keepdims=True)
    dropped = likely > least
    exempt = [token for token in sorted(never_dropped) if token < logprobs.shape[-1]]
    if exempt:
        dropped[:, mx.array(exempt)] = False
    return mx.where(dropped, -mx.inf, logprobs)


def likeliest(logprobs: mx.array, counts: Rows[int]) -> mx.array:
    """Keep each row's so many likeliest tokens, all for ``OFF``; counts are below the vocabulary.

    Of tokens that are equally likely those with the lowest ids stay, as for an argmax.
    """
    most = max(counts)
    column = mx.array(np.array(counts, dtype=np.int32)[:, None])
    ordered = mx.sort(mx.topk(logprobs, most, axis=-1), axis=-1)
    last = mx.take_along_axis(ordered, mx.minimum(most - column, most - 1), axis=-1)
    likelier, ties = logprobs > last, logprobs == last
    room = column - mx.sum(likelier.astype(mx.int32), axis=-1, keepdims=True)
    first = mx.cumsum(ties.astype(mx.int32), axis=-1) <= room
    kept = mx.logical_or(likelier, mx.logical_and(ties, first))
    return mx.where(mx.logical_or(kept, column == OFF), logprobs, -mx.inf)
