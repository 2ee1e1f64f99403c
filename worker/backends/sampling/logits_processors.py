"""What a row's own answer says about its next token: a schema to keep to, words that were said
before.

Only rows that ask for it have a guide, and only batches with such a row pay: the host looks at the
last token while the model computes, and changes the logits before the next one is chosen. What was
said decides, so a crash changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Rows
from typing import Protocol

import mlx.core as mx
import numpy as np

from worker.backends.sampling.json_schema import Constraint
from worker.sequence import Sequence

MOST = 10_000.0
"""More than any logit, and less than the largest number of any type that logits are in."""


class LogitsProcessor:
    """One row's. ``seen`` counts the tokens of the answer that it has been told of."""

    def __init__(self, sequence: Sequence, constraint: Constraint | None) -> None:
        sampling = sequence.job.sampling
        said = [*sequence.emitted, *sequence.generated]
        self.seen = len(said)
        self._presence, self._frequency = sampling.presence_penalty, sampling.frequency_penalty
        self._counts = Counter(said)
        self._constraint = constraint
        if constraint is not None:
            constraint.start(said)

    def take(self, token: int) -> None:
        """The answer's next token."""
        self.seen += 1
        self._counts[token] += 1
        if self._constraint is not None:
            self._constraint.take(token)

    def change(self, change: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
        """Write what is to be added to the row's logits: OpenAI's penalties, and minus infinity
        for what may not be."""
        if (self._presence or self._frequency) and self._counts:
            counts = np.fromiter(self._counts.values(), np.float32, len(self._counts))
            change[list(self._counts)] -= np.clip(
                self._presence + self._frequency * counts, -MOST, MOST
            )
        if self._constraint is not None:
            mask = np.ones(len(change), dtype=np.bool_)
            self._constraint.allow(mask)
            change[~mask] = -np.inf


def guide_of(sequence: Sequence) -> LogitsProcessor | None:
    """The guide of a sequence that joins a batch; most need none."""
    sampling, constraint = sequence.job.sampling, sequence.constraint
    if constraint is None and not sampling.presence_penalty and not sampling.frequency_penalty:
        return None
    assert constraint is None or isinstance(constraint, Constraint)
    return LogitsProcessor(sequence, constraint)


class Guided(Protocol):
    """A row's sampler as this module needs it; ``position`` counts the tokens of the answer that
    have been chosen."""

    guide: LogitsProcessor | None
    position: int


def guided(logits: mx.array, samplers: Rows[Guided], inputs: mx.array) -> mx.array:
    """The logits [rows, vocabulary] as the rows' guides want them; ``inputs`` [rows] are the
    tokens behind them."""
    if all(sampler.guide is None for sampler in samplers):
        return logits
    mx.async_eval(logits)
    places = [place for place, sampler in enumerate(samplers) if sampler.guide is not None]
    change = np.zeros((len(places), logits.shape[-1]), dtype=np.float32)
    tokens = inputs.tolist()
    for row, place in enumerate(places):
        guide = samplers[place].guide
        assert guide is not None, "only rows with a guide are looked at"
        # Else the input is still the prompt's last token.
        if samplers[place].position > guide.seen:
            guide.take(tokens[place])
        guide.change(change[row])
    # In the logits' own type: neighbours without a guide must not even be rounded otherwise.
    return logits.at[mx.array(places)].add(mx.array(change).astype(logits.dtype))
