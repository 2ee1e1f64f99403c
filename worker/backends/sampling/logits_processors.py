"""Changes to a row's logits that depend on its answer so far: a JSON schema, and OpenAI's presence
and frequency penalties.

Only rows that ask for these have a processor, and only batches with such a row pay: the host
handles the last token while the model computes, and changes the logits before the next token is
sampled. Only the answer's tokens count, so a crash changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Rows
from typing import Protocol

import mlx.core as mx
import numpy as np

from worker.backends.sampling.json_schema import Constraint
from worker.sequence import Sequence

LARGEST_PENALTY = 10_000.0
"""More than any logit, and less than the largest number of any type that logits are in."""


class LogitsProcessor:
    """One row's. ``seen`` counts the tokens of the answer that it knows of."""

    def __init__(self, sequence: Sequence, constraint: Constraint | None) -> None:
        sampling = sequence.job.sampling
        answer = [*sequence.emitted, *sequence.generated]
        self.seen = len(answer)
        self._presence, self._frequency = sampling.presence_penalty, sampling.frequency_penalty
        self._counts = Counter(answer)
        self._constraint = constraint
        if constraint is not None:
            constraint.start(answer)

    def accept(self, token: int) -> None:
        """The answer's next token."""
        self.seen += 1
        self._counts[token] += 1
        if self._constraint is not None:
            self._constraint.accept(token)

    def write_bias(self, bias: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
        """Write what to add to the row's logits: the penalties, and minus infinity for tokens that
        the schema excludes."""
        if (self._presence or self._frequency) and self._counts:
            counts = np.fromiter(self._counts.values(), np.float32, len(self._counts))
            bias[list(self._counts)] -= np.clip(
                self._presence + self._frequency * counts, -LARGEST_PENALTY, LARGEST_PENALTY
            )
        if self._constraint is not None:
            mask = np.ones(len(bias), dtype=np.bool_)
            self._constraint.fill_mask(mask)
            bias[~mask] = -np.inf


def logits_processor_of(sequence: Sequence) -> LogitsProcessor | None:
    """The logits processor of a sequence that joins a batch; most need none."""
    sampling, constraint = sequence.job.sampling, sequence.constraint
    if constraint is None and not sampling.presence_penalty and not sampling.frequency_penalty:
        return None
    assert constraint is None or isinstance(constraint, Constraint)
    return LogitsProcessor(sequence, constraint)


class Sampler(Protocol):
    """A row's sampler as this module needs it; ``position`` counts the tokens of the answer that
    have been sampled."""

    processor: LogitsProcessor | None
    position: int


def process_logits(logits: mx.array, samplers: Rows[Sampler], inputs: mx.array) -> mx.array:
    """The logits [rows, vocabulary] as the rows' processors change them; ``inputs`` [rows] are the
    tokens before them."""
    if all(sampler.processor is None for sampler in samplers):
        return logits
    mx.async_eval(logits)
    indices = [i for i, sampler in enumerate(samplers) if sampler.processor is not None]
    bias = np.zeros((len(indices), logits.shape[-1]), dtype=np.float32)
    tokens = inputs.tolist()
    for row, index in enumerate(indices):
        processor = samplers[index].processor
        assert processor is not None, "only rows with a processor are in indices"
        # Else the input is still the prompt's last token.
        if samplers[index].position > processor.seen:
            processor.accept(tokens[index])
        processor.write_bias(bias[row])
    # In the logits' own type: rows without a processor must not even be rounded differently.
    return logits.at[mx.array(indices)].add(mx.array(bias).astype(logits.dtype))
