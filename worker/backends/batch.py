"""mlx_lm's BatchGenerator with rows sampled together.

The generator keeps the caches, the prefill and the joining and leaving of rows. Its two batch classes are replaced by
subclasses: decoding samples all rows at once from their logits (a sampler call a row costs a third of the speed at 32
rows), and nothing is computed that nobody reads (log-probabilities). The private names this relies on are held by
``tests/mlx/test_library_contract.py``.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator, GenerationBatch, PromptProcessingBatch

from worker.backends.guides import guided
from worker.backends.sampling import RecentTokens, RowSampler, sample

READ_TOGETHER, READ_IN_COMPANY = 8, 4
"""Prompts that are read at once: alone, as many as mlx_lm reads; fewer while others wait for the end of a step."""


class DecodeBatch(GenerationBatch):
    """The rows in decode. ``samplers`` holds a RowSampler a row; the library moves them about with their rows."""

    uids: list[int]
    tokens: list[list[int]]
    samplers: list[RowSampler]
    _next_tokens: mx.array

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._recent = RecentTokens()
        super().__init__(*args, **kwargs)

    def _step(self) -> tuple[list[int], list[None]]:
        """Start computing every row's next token and return the ones that were under way."""
        inputs = self._next_tokens
        logits = guided(self.model(inputs[:, None], cache=self.prompt_cache)[:, -1, :], self.samplers, inputs)
        self._current_tokens = inputs
        recent = self._recent.advance(self.uids, self.samplers, self.tokens, inputs)
        self._next_tokens = sample(logits, self.samplers, recent)
        mx.async_eval(self._next_tokens)
        tokens: list[int] = inputs.tolist()
        for history, token in zip(self.tokens, tokens, strict=True):
            history.append(token)
        nothing = [None] * len(tokens)
        self._current_logprobs, self._next_logprobs = nothing, list(nothing)
        return tokens, nothing


class PrefillBatch(PromptProcessingBatch):
    """The rows in prefill; they leave it as a DecodeBatch."""

    uids: list[int]
    tokens: list[list[int]]
    prompt_cache: list[Any]
    samplers: list[RowSampler]
    logits_processors: list[Any]
    max_tokens: list[int]
    stop_sequences: list[Any]

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
        self.uids, self.prompt_cache, self.tokens = [], [], []
        self.samplers, self.logits_processors, self.max_tokens, self.stop_sequences = [], [], [], []
        return batch


class RowBatchGenerator(BatchGenerator):
    """A BatchGenerator whose ``samplers`` are RowSamplers."""

    def __init__(self, model: Any, *, stop_tokens: list[list[int]], rows: int, chunk: int) -> None:
        super().__init__(
            model,
            stop_tokens=stop_tokens,
            completion_batch_size=rows,
            prefill_batch_size=min(rows, READ_TOGETHER),
            prefill_step_size=chunk,
        )
        self._prompt_batch = PrefillBatch.empty(model, self.sampler, prefill_step_size=chunk)
        self._generation_batch = DecodeBatch.empty(model, self.sampler)

    @property
    def decoding(self) -> bool:
        return len(self._generation_batch) > 0

    def set_chunk(self, tokens: int, *, in_company: bool) -> None:
        """What to read of prompts between two decode steps: tokens of each, and of fewer while others wait for it."""
        self.prefill_batch_size = min(self.completion_batch_size, READ_IN_COMPANY if in_company else READ_TOGETHER)
        self.prefill_step_size = tokens
        self._prompt_batch.prefill_step_size = tokens
