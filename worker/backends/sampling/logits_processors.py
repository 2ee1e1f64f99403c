"""Changes to a row's logits before its next token is sampled, in mlx_lm's order: logit_bias, the
repetition penalty, then what depends on the answer so far: OpenAI's presence and frequency
penalties, a JSON schema or a grammar, and tokens that end a model's thinking at its limit.

Only rows that ask for the latter have a processor, and only batches with such a row pay: the host
handles the last token while the model computes, and changes the logits before the next token is
sampled. Only the answer's tokens count, so a crash changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from typing import Protocol

import mlx.core as mx
import numpy as np

from worker.backends.sampling.json_schema import Constraint, Mask
from worker.backends.sampling.logit_bias import LARGEST_BIAS, Biased, Entries, add_biases
from worker.backends.sampling.repetition_penalty import Penalised, penalise
from worker.backends.sampling.special_tokens import NO_SPECIAL_TOKENS, SpecialTokens, held_back
from worker.sequence import Sequence


class TokenCounts:
    """How often each token stands in an answer: as arrays, because thousands of different tokens
    are looked at before each new one."""

    def __init__(self, answer: Rows[int]) -> None:
        ids, counts = np.unique(np.array(answer, dtype=np.int32), return_counts=True)
        self._ids, self._counts = ids, counts.astype(np.float32)
        self._length = len(ids)
        self._places = {int(token): place for place, token in enumerate(ids)}

    def add(self, token: int) -> None:
        """Count one more token."""
        place = self._places.setdefault(token, self._length)
        if place == self._length:
            self._length += 1
            if place == len(self._ids):
                room = np.zeros(self._length, dtype=np.int32)
                self._ids = np.concatenate([self._ids, room])
                self._counts = np.concatenate([self._counts, room.astype(np.float32)])
            self._ids[place] = token
        self._counts[place] += 1

    def penalties(self, presence: float, frequency: float) -> Entries:
        """The ids of the tokens that have come, and what their logits lose."""
        lost = presence + frequency * self._counts[: self._length]
        return self._ids[: self._length], np.clip(lost, -LARGEST_BIAS, LARGEST_BIAS)


class LogitsProcessor:
    """One row's. ``seen`` counts the tokens of the answer that it knows of.

    ``held_back`` are the tokens that a constrained answer can't have before ``min_tokens`` tokens,
    unless its schema allows nothing else.
    """

    def __init__(
        self, sequence: Sequence, constraint: Constraint | None, held_back: Rows[int] = ()
    ) -> None:
        sampling = sequence.job.sampling
        answer = [*sequence.emitted, *sequence.generated]
        self.seen = len(answer)
        self._presence, self._frequency = sampling.presence_penalty, sampling.frequency_penalty
        self._said = TokenCounts(answer) if self._presence or self._frequency else None
        self._constraint = constraint
        self._held_back, self._min_tokens = list(held_back), sampling.min_tokens
        if constraint is not None:
            constraint.start(answer)
        self._budget = sequence.thinking_budget
        if self._budget is not None:
            self._budget.start(answer)

    @property
    def constrained(self) -> bool:
        return self._constraint is not None

    def accept(self, token: int) -> None:
        """The answer's next token."""
        self.seen += 1
        if self._said is not None:
            self._said.add(token)
        if self._constraint is not None:
            self._constraint.accept(token)
        if self._budget is not None:
            self._budget.accept(token)

    @property
    def forced(self) -> int | None:
        """The token that comes next whatever else is asked for; None if there is none."""
        return None if self._budget is None else self._budget.forced

    @property
    def is_idle(self) -> bool:
        """Whether it adds nothing before the next token."""
        return self._constraint is None and (self._said is None or not self.seen)

    def write_bias(self, bias: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
        """Write what to add to the row's logits: the penalties, and minus infinity for tokens that
        the schema excludes."""
        if self._said is not None:
            ids, lost = self._said.penalties(self._presence, self._frequency)
            bias[ids] -= lost
        if self._constraint is not None:
            mask = np.ones(len(bias), dtype=np.bool_)
            self._constraint.fill_mask(mask)
            bias[~self._without_held_back(mask)] = -np.inf

    def _without_held_back(self, mask: Mask) -> Mask:
        """The mask of a schema without the tokens that can't come yet, unless nothing is left."""
        if self.seen >= self._min_tokens or not self._held_back:
            return mask
        others = mask.copy()
        others[[token for token in self._held_back if token < len(mask)]] = False
        return others if others.any() else mask


def logits_processor_of(
    sequence: Sequence, special: SpecialTokens = NO_SPECIAL_TOKENS
) -> LogitsProcessor | None:
    """The logits processor of a sequence that joins a batch; most need none."""
    sampling, constraint = sequence.job.sampling, sequence.constraint
    asks = sampling.presence_penalty or sampling.frequency_penalty
    if constraint is None and sequence.thinking_budget is None and not asks:
        return None
    assert constraint is None or isinstance(constraint, Constraint)
    return LogitsProcessor(sequence, constraint, held_back(sampling, special))


class Sampler(Biased, Penalised, Protocol):
    """A row's sampler as this module needs it."""

    @property
    def processor(self) -> LogitsProcessor | None: ...


def process_logits(
    logits: mx.array,
    samplers: Rows[Sampler],
    inputs: mx.array,
    recent: mx.array | None = None,
) -> mx.array:
    """The logits [rows, vocabulary] as the rows' settings and processors change them.

    ``inputs`` [rows] are the tokens before them; ``recent`` [rows, size] those that repetition
    penalties apply to, or None when no row has a penalty.
    """
    changed = add_biases(logits, samplers)
    if recent is not None:
        penalties = mx.array([[sampler.penalty] for sampler in samplers], dtype=logits.dtype)
        changed = penalise(changed, recent, penalties)
    if all(sampler.processor is None for sampler in samplers):
        return changed
    return _apply_processors(changed, samplers, inputs)


def _apply_processors(logits: mx.array, samplers: Rows[Sampler], inputs: mx.array) -> mx.array:
    mx.async_eval(logits)
    tokens = inputs.tolist()
    adding: dict[int, LogitsProcessor] = {}
    forced: dict[int, int] = {}
    for index, sampler in enumerate(samplers):
        if (processor := sampler.processor) is None:
            continue
        # Else the input is still the prompt's last token.
        if sampler.position > processor.seen:
            processor.accept(tokens[index])
        if processor.forced is not None:
            forced[index] = processor.forced
        elif not processor.is_idle:
            adding[index] = processor
    if adding:
        bias = np.zeros((len(adding), logits.shape[-1]), dtype=np.float32)
        for row, processor in enumerate(adding.values()):
            processor.write_bias(bias[row])
        # In the logits' own type: rows without a processor must not even be rounded differently.
        logits = logits.at[mx.array([*adding])].add(mx.array(bias).astype(logits.dtype))
    return _with_forced(logits, forced) if forced else logits


def _with_forced(logits: mx.array, forced: dict[int, int]) -> mx.array:
    """The logits with minus infinity for all but the forced token of these rows, whatever was
    added to them: a token that is held back comes all the same where it is forced."""
    alone = np.full((len(forced), logits.shape[-1]), -np.inf, dtype=np.float32)
    alone[np.arange(len(forced)), [*forced.values()]] = 0.0
    changed = mx.array(logits)  # The caller's stay as they are.
    changed[mx.array([*forced])] = mx.array(alone).astype(logits.dtype)
    return changed
