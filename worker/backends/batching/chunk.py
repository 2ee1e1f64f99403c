"""The tokens of some prompts that are read together, computed in pieces of a few layers."""

from __future__ import annotations

import time
from dataclasses import dataclass

import mlx.core as mx

from worker.backends.batching import kv_cache
from worker.backends.batching.cache_batch import CacheBatch
from worker.backends.batching.row import Model, Row
from worker.backends.sampling.logprobs import measure_prompt
from worker.logprobs import Measured

PIECE_S = 0.1
"""For how long a step reads: streams wait for its end. A single layer may take longer."""

LONGEST_S = 2.0
"""How long a whole chunk should take at most: a chat that is stopped in one ends with it, and other
models' streams get a token for each layer of it."""
FEWEST, GROWTH = 32, 4
"""Tokens of the smallest chunk; and how many times as many as the last chunk the next one may
have."""


@dataclass(slots=True)
class Pace:
    """How fast a model reads, by its last chunk, and how many tokens it reads in ``LONGEST_S``."""

    token_s: float = float("inf")
    most: int = FEWEST

    @classmethod
    def expected(cls, token_s: float) -> Pace:
        """Before the first chunk, by how long a token took in a few short prompts: those of long
        ones take no longer."""
        return cls(most=max(FEWEST, int(LONGEST_S / token_s)))

    def took(self, tokens: int, seconds: float) -> None:
        """A chunk of so many tokens took so long. A small one says little of larger ones, which are
        read faster by the token, unless it took too long itself."""
        self.token_s = seconds / tokens
        in_time = int(tokens * LONGEST_S / seconds) if seconds else GROWTH * self.most
        if seconds > LONGEST_S:
            self.most = max(FEWEST, in_time)
        else:
            self.most = max(self.most, min(GROWTH * self.most, in_time))


class Chunk:
    """Lays out the next tokens of each row: from ``row.read`` to its stop. The rows' caches are
    those of ``batch``, which must not be used before ``run`` says that it is finished."""

    def __init__(
        self, model: Model, rows: list[Row], batch: CacheBatch, size: int, pace: Pace
    ) -> None:
        """``size`` is the most tokens of a row."""
        self.rows = list(rows)
        self.batch = batch
        self._stops = [row.next_stop(size) for row in rows]
        self._lengths = [stop - row.read for row, stop in zip(rows, self._stops, strict=True)]
        self.tokens = max(self._lengths) * len(rows)
        """Padding included."""
        self.measured: list[Measured] = []
        """Log-probabilities of the tokens behind those that were read, for a row that asks."""
        self._pace = pace
        self._took_s = 0.0
        self._finished = False
        self._logits = self._lay_out(model) if self.tokens else None
        self._left = list(batch.layers) if self.tokens else []
        """What is not computed yet. What a layer keeps depends on all of the layer before."""

    def run(self, limit_s: float) -> bool:
        """Compute for about so long, at least one layer; whether the chunk is finished."""
        began = now = time.monotonic()
        while self._left:
            count = self._layers_in(began + limit_s - now)
            kv_cache.evaluate(self._left[:count])
            del self._left[:count]
            now = time.monotonic()
            if now - began >= limit_s:
                break
        self._took_s += now - began
        if not self._left and not self._finished:
            self._finish()
        return self._finished

    def _layers_in(self, limit_s: float) -> int:
        """How many layers should take so long. They are computed at once: each wait costs time."""
        layer_s = self.tokens * self._pace.token_s / len(self.batch.layers)
        left = len(self._left)
        return left if left * layer_s <= limit_s else max(1, int(limit_s / layer_s))

    def drop(self, row: Row) -> None:
        """Let a row leave, with the others of the batch staying; the chunk is finished before."""
        self.run(float("inf"))
        self.rows.remove(row)

    def _lay_out(self, model: Model) -> mx.array:
        rows, layers = self.rows, self.batch.layers
        if (feed := rows[0].feed) is not None:
            return feed(rows[0].read, self._stops[0], layers)
        longest = max(self._lengths)
        padding = [longest - length for length in self._lengths]
        ids = [
            row.tokens[row.read : stop] + [0] * pad
            for row, stop, pad in zip(rows, self._stops, padding, strict=True)
        ]
        if any(padding):
            for layer in layers:
                layer.prepare(lengths=self._lengths, right_padding=padding)
        logits = model.forward(mx.array(ids), layers, rows)
        if self.batch.rows > 1:
            for layer in layers:
                layer.finalize()
        return logits

    def _finish(self) -> None:
        self._finished = True
        first = self.rows[0]
        if self._logits is not None and (likeliest := first.prompt_logprobs) is not None:
            # It is read by itself.
            told = first.tokens[first.read + 1 : self._stops[0] + 1]
            self.measured = measure_prompt(self._logits[0], told, likeliest)
            first.measured += self.measured
        if self.tokens:
            self._pace.took(self.tokens, self._took_s)
        for row, stop in zip(self.rows, self._stops, strict=True):
            row.read = stop
