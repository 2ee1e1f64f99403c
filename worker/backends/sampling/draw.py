"""From the logits of some positions to their next tokens, and to the log-probabilities of those."""

from __future__ import annotations

from collections.abc import Sequence as Items
from typing import Protocol

import mlx.core as mx

from worker.backends.sampling.logits_processors import process_logits
from worker.backends.sampling.logprobs import Measurement, measure
from worker.backends.sampling.repetition_penalty import RecentTokens
from worker.backends.sampling.sampler import RowSampler, sample


class Position(Protocol):
    """Where a token is drawn: with a row's sampler, behind these tokens. ``logprobs`` says with how
    many of the likeliest tokens the one that is drawn is measured, None that it isn't."""

    @property
    def tokens(self) -> Items[int]: ...
    @property
    def sampler(self) -> RowSampler: ...
    @property
    def logprobs(self) -> int | None: ...


def draw(
    logits: mx.array, positions: Items[Position], inputs: mx.array, recent: RecentTokens, known: int
) -> tuple[mx.array, Measurement | None]:
    """Begin to compute the next tokens, [positions] in int32, and what is to be measured of them.

    ``logits`` are [positions, vocabulary]; ``inputs`` [positions] are the tokens that were fed.
    ``known``: whether these are among the positions' tokens already, 1 or 0. ``recent`` is kept
    from step to step.
    """
    samplers = [position.sampler for position in positions]
    histories = [position.tokens for position in positions]
    window = recent.advance(positions, samplers, histories, inputs, known)
    processed = process_logits(logits, samplers, inputs, window)
    newest = sample(processed, samplers).astype(mx.int32)
    measurement = measure(logits, newest, positions, [one.logprobs for one in positions])
    if measurement is None:
        mx.async_eval(newest)
    else:
        mx.async_eval(newest, measurement.values, measurement.ids)
    return newest, measurement
