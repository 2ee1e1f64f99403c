"""mlx_lm's BatchGenerator with rows sampled together.

The generator manages the caches, prefill, and the rows that join and leave. Its two batch classes
are replaced by subclasses: decoding samples all rows at once from their logits (one sampler call
per row costs a third of the speed at 32 rows), and log-probabilities, which nothing reads, are not
computed. ``tests/mlx/test_library_contract.py`` checks the private names that this relies on.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator, GenerationBatch, PromptProcessingBatch

from worker.backends.sampling.logits_processors import process_logits
from worker.backends.sampling.sampler import RecentTokens, RowSampler, sample

READ_TOGETHER, READ_WHILE_OTHERS_WAIT, READ_IN_BATCH_LANE = 8, 4, 1
"""Prompts of a whole chunk that are read at once: as many as mlx_lm reads; fewer while others wait
for the end of the step, and still fewer in a batch lane. Of shorter prompts as many more are read
as have the same number of tokens, unless others wait."""
JOINING_PART = 4
"""In a batch lane, new rows join when one in so many rows is free. Each join and each leave copies
the caches of all rows, and rows of one length that join together leave together."""


class DecodeBatch(GenerationBatch):
    """The rows in decode. ``samplers`` holds each row's RowSampler; the library keeps them in the
    rows' order."""

    uids: list[int]
    tokens: list[list[int]]
    samplers: list[RowSampler]
    _next_tokens: mx.array

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._recent = RecentTokens()
        self._ending = False
        self._returns_first = False
        """Whether the next step returns the rows' first tokens without starting another."""
        self._returned = False
        """Whether the newest tokens have been returned already, and none are being computed."""
        self.attended = True
        """Whether clients wait for the rows. Else first tokens aren't returned early, and the
        caches of rows that end are not extracted: that takes time."""
        super().__init__(*args, **kwargs)

    def next(self) -> list[Any]:
        self._ending = True
        try:
            return list(super().next())
        finally:
            self._ending = False

    def extract_cache(self, idx: int) -> list[Any]:
        return [] if self._ending and not self.attended else super().extract_cache(idx)

    def extend(self, batch: DecodeBatch) -> None:
        begins = not self.uids
        if self._returned and not begins:
            self._compute_next()  # Now at the same point as the rows that join.
        super().extend(batch)
        self._returns_first, self._returned = begins and self.attended, False

    def _step(self) -> tuple[list[int], list[None]]:
        """Start computing every row's next token and return the ones that were being computed.

        When all rows are at their first token, it is returned at once: its latency counts most.
        """
        if self._returns_first:
            self._returns_first, self._returned = False, True
            first: list[int] = self._next_tokens.tolist()
            return first, self._no_logprobs(len(first))
        if self._returned:
            self._compute_next()
        tokens = self._compute_next()
        return tokens, self._no_logprobs(len(tokens))

    def _compute_next(self) -> list[int]:
        """Feed the rows their newest tokens, which are returned, and start computing the next
        ones."""
        inputs = self._next_tokens
        logits = process_logits(
            self.model(inputs[:, None], cache=self.prompt_cache)[:, -1, :], self.samplers, inputs
        )
        self._current_tokens = inputs
        recent = self._recent.advance(self.uids, self.samplers, self.tokens, inputs)
        self._next_tokens = sample(logits, self.samplers, recent)
        mx.async_eval(self._next_tokens)
        self._returned = False
        tokens: list[int] = inputs.tolist()
        for history, token in zip(self.tokens, tokens, strict=True):
            history.append(token)
        return tokens

    def _no_logprobs(self, rows: int) -> list[None]:
        self._current_logprobs, self._next_logprobs = [None] * rows, [None] * rows
        return self._current_logprobs


class PrefillBatch(PromptProcessingBatch):
    """The rows in prefill, which leave as a DecodeBatch."""

    uids: list[int]
    tokens: list[list[int]]
    prompt_cache: list[Any]
    samplers: list[RowSampler]
    logits_processors: list[Any]
    max_tokens: list[int]
    stop_sequences: list[Any]

    def split(self, indices: list[int]) -> PromptProcessingBatch:
        """Take rows out; without copying caches if it is all of them."""
        if len(indices) < len(self.uids):
            return super().split(indices)
        leaving = copy.copy(self)
        self._empty()
        return leaving

    def generate(self, tokens: list[list[int]]) -> DecodeBatch:
        if any(len(row) > 1 for row in tokens):
            self.prompt([row[:-1] for row in tokens])
        batch = DecodeBatch(
            self.model,
            self.uids,
            mx.array([row[-1] for row in tokens]),
            self.prompt_cache,
            self.tokens,
            self.samplers,
            self.fallback_sampler,
            self.logits_processors,
            self.stop_sequences,
            self.max_tokens,
        )
        self._empty()
        return batch

    def _empty(self) -> None:
        self.uids, self.prompt_cache, self.tokens = [], [], []
        self.samplers, self.logits_processors, self.max_tokens, self.stop_sequences = [], [], [], []


class RowBatchGenerator(BatchGenerator):
    """A BatchGenerator whose ``samplers`` are RowSamplers.

    ``attended`` says whether clients wait for the rows. Else rows join in groups, and their caches
    are dropped when they end.
    """

    def __init__(
        self,
        model: Any,
        *,
        stop_tokens: list[list[int]],
        rows: int,
        chunk: int,
        attended: bool = True,
    ) -> None:
        super().__init__(
            model,
            stop_tokens=stop_tokens,
            completion_batch_size=rows,
            prefill_batch_size=min(rows, READ_TOGETHER),
            prefill_step_size=chunk,
        )
        self._prompt_batch = PrefillBatch.empty(model, self.sampler, prefill_step_size=chunk)
        self._generation_batch = DecodeBatch.empty(model, self.sampler)
        self._generation_batch.attended = self._attended = attended

    @property
    def decoding(self) -> bool:
        return len(self._generation_batch) > 0

    def set_chunk(self, tokens: int, *, others_waiting: bool) -> None:
        """Set how many tokens of each prompt are read between two decode steps, and of how many
        prompts."""
        self.prefill_batch_size = 0 if self._gathers() else self._fitting(tokens, others_waiting)
        self.prefill_step_size = tokens
        self._prompt_batch.prefill_step_size = tokens

    def _fitting(self, chunk: int, others_waiting: bool) -> int:
        """How many prompts to read at once, including those being read."""
        fewer = READ_WHILE_OTHERS_WAIT if self._attended else READ_IN_BATCH_LANE
        most = fewer if others_waiting else self.completion_batch_size
        budget = chunk * READ_TOGETHER
        count = longest = 0
        for segments in chain(
            (reading[0] for reading in self._currently_processing),
            (row[1] for row in self._unprocessed_sequences),
        ):
            longest = max(longest, min(chunk, len(segments[0])))  # Shorter ones are padded to it.
            if count >= most or (count + 1) * longest > budget:
                break
            count += 1
        return count

    def _gathers(self) -> bool:
        """Whether prompts wait until more rows are free, to join together."""
        if self._attended or not self.decoding or len(self._prompt_batch) > 0:
            return False
        free = int(self.completion_batch_size) - len(self._generation_batch)
        return free < min(
            int(self.completion_batch_size) // JOINING_PART, len(self._unprocessed_sequences)
        )
