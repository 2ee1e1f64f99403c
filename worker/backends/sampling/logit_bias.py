"""What is added to single logits of a row, whatever its answer says: ``logit_bias``, and minus
infinity for tokens that can't come yet."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from typing import Protocol

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

LARGEST_BIAS = 10_000.0
"""More than any logit, and less than the largest number of any type that logits are in."""
Entries = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Token ids, and what is added to the logit of each."""


class LogitBias:
    """One row's: pairs of a token id and a bias, and ids that can't come before the answer's token
    ``until``, counted from 0."""

    def __init__(
        self, pairs: Rows[tuple[int, float]], held_back: Rows[int] = (), until: int = 0
    ) -> None:
        biases = {
            token: min(max(bias, -LARGEST_BIAS), LARGEST_BIAS)
            for token, bias in dict(pairs).items()
        }
        self._later = _entries(biases)
        self._earlier = _entries(biases | dict.fromkeys(held_back, -np.inf))
        self._until = until

    def at(self, position: int) -> Entries:
        """What is added before the token at this position is sampled."""
        return self._earlier if position < self._until else self._later


def logit_bias_of(
    pairs: Rows[tuple[int, float]], held_back: Rows[int], until: int
) -> LogitBias | None:
    """The bias of a row that has any; most have none."""
    return LogitBias(pairs, held_back, until) if pairs or held_back else None


def _entries(biases: dict[int, float]) -> Entries:
    return np.array([*biases], dtype=np.int32), np.array([*biases.values()], dtype=np.float32)


class Biased(Protocol):
    """A row's sampler as this module needs it; ``position`` counts the tokens of the answer that
    have been sampled."""

    @property
    def bias(self) -> LogitBias | None: ...
    @property
    def position(self) -> int: ...


def add_biases(logits: mx.array, samplers: Rows[Biased]) -> mx.array:
    """The logits [rows, vocabulary] with the rows' biases; other rows keep theirs to the bit."""
    places: list[NDArray[np.int32]] = []
    tokens: list[NDArray[np.int32]] = []
    biases: list[NDArray[np.float32]] = []
    for row, sampler in enumerate(samplers):
        if sampler.bias is not None:
            ids, values = sampler.bias.at(sampler.position)
            places.append(np.full(len(ids), row, dtype=np.int32))
            tokens.append(ids)
            biases.append(values)
    if not sum(map(len, tokens)):
        return logits
    ids = np.concatenate(tokens)
    # A model's files may name end-of-text tokens that it has no logits for.
    known = ids < logits.shape[-1]
    rows, values = np.concatenate(places)[known], np.concatenate(biases)[known]
    return logits.at[mx.array(rows), mx.array(ids[known])].add(
        mx.array(values).astype(logits.dtype)
    )
