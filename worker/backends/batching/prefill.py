"""The rows whose prompts are being read, several at once within a budget of tokens.

Rows begin behind the longest prefix that the prompt cache or another row of the batch has. Two
prompts with the same beginning that come together read it once: the second waits for the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from worker.backends.base import Step
from worker.backends.batching import kv_cache
from worker.backends.batching.cache_batch import CacheBatch
from worker.backends.batching.row import Model, Row
from worker.backends.batching.self_check import Abilities
from worker.prompt_cache import common_tokens

TOKENS_BETWEEN_CLEARING = 2048
"""MLX keeps freed buffers for reuse; reading long prompts would collect many of different sizes.
mlx_lm clears them after each chunk of so many tokens."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much to read in one step: tokens of each prompt, prompts, and tokens of all."""

    chunk: int
    prompts: int
    tokens: int


class Prefill:
    """Rows being read."""

    def __init__(
        self,
        model: Model,
        *,
        abilities: Abilities,
        checkpoints: bool,
        least_shared: int,
        look_up: Callable[[Row], None],
    ) -> None:
        """``checkpoints``: the model's cache has layers that can't be cut. ``least_shared`` is how
        many tokens a prompt must have in common with one that is being read to wait for it.
        ``look_up`` sets ``cache`` and ``read`` of a row that is about to be read."""
        self._model = model
        self._pads = abilities.pads
        self._checkpoints = checkpoints
        self._lone = abilities.lone
        self._least_shared = least_shared
        self._look_up = look_up
        self._unclear = 0
        self.rows: list[Row] = []
        self._together: list[Row] = []
        """The rows whose caches are in ``_batch`` now; they are among ``rows``."""
        self._batch: CacheBatch | None = None

    def add(self, row: Row) -> None:
        """Take in a row, behind the others."""
        self._wait_for_another(row)
        self.rows.append(row)

    def _wait_for_another(self, row: Row) -> None:
        """Let a row wait for the one that is reading the same beginning."""
        shared = 0
        for other in self.rows if row.reusable else ():
            same = common_tokens(row.prompt_key, other.prompt_key)
            common = min(same, row.last, other.last)
            if (
                other.reusable
                and common >= max(self._least_shared, shared + 1)
                and common > other.read
            ):
                row.awaits, shared = (other, common), common
        if row.awaits is not None and self._checkpoints:
            row.awaits[0].places.add(shared)

    @property
    def waits_for_embeddings(self) -> bool:
        """Whether no row can be read, because all wait for their embeddings."""
        return all(row.embed is not None for row in self.rows)

    def step(self, step: Step, limits: Limits) -> tuple[list[Row], CacheBatch] | None:
        """Embed a prompt, or read a chunk of some. Returns rows that have been read to their last
        token, with their caches."""
        if self._embed_some():
            return None
        if (known := self._known_whole()) is not None:
            return known
        chosen = self._choose(limits)
        if not chosen:
            return None
        batch = self._gather(chosen)
        self._read(chosen, batch, limits.chunk)
        for index, row in enumerate(chosen):
            if row.read in row.places:
                row.places.discard(row.read)
                row.checkpoints[row.read] = batch.checkpoint(index)
            step.prefill.append((row.sequence, row.read, row.prompt_length))
        return self._finished(chosen, batch)

    def remove(self, row: Row) -> list[Any] | None:
        """Drop a row; returns its cache, which holds what was read, None if it has none yet."""
        cache = self.cache_of(row)
        self.rows.remove(row)
        if self._batch is not None and row in self._together:
            staying = [i for i, other in enumerate(self._together) if other is not row]
            self._together.remove(row)
            if staying:
                self._batch.keep(staying)
            else:
                self._batch = None
        return cache

    def cache_of(self, row: Row) -> list[Any] | None:
        """The cache of a row as far as it has been read."""
        if self._batch is not None and row in self._together:
            return self._batch.extract(self._together.index(row))
        return row.cache

    # --- a step -----------------------------------------------------------------------------------

    def _ready(self) -> Iterable[Row]:
        """Rows that can be read or embedded, looked up in the prompt cache."""
        for row in list(self.rows):
            if row.awaits is not None:
                other, common = row.awaits
                if other.read < common and other in self.rows:
                    continue
                row.awaits = None
            if row.cache is None and row not in self._together:
                self._look_up(row)
            yield row

    def _embed_some(self) -> bool:
        """Embed prompts, those without images first, until one is done; whether one is."""
        if all(row.embed is None for row in self.rows):
            return False
        for row in sorted(self._ready(), key=lambda row: row.shows_images):
            if row.embed is not None and row.embed():
                row.embed = None
                return True
        return False

    def _known_whole(self) -> tuple[list[Row], CacheBatch] | None:
        """Rows of whose prompts nothing is left to read: the whole was found in a cache."""
        rows = [row for row in self.rows if row.embed is None and row not in self._together]
        known = [row for row in rows if row.cache is not None and row.read == row.last]
        known = known if self._pads else known[:1]
        if not known:
            return None
        self.rows = [row for row in self.rows if row not in known]
        return known, self._batch_of(known)

    def _choose(self, limits: Limits) -> list[Row]:
        """The rows to read now: those that are together already, and as many more as fit."""
        chosen = list(self._together)
        longest = max((row.next_stop(limits.chunk) - row.read for row in chosen), default=0)
        for row in self._ready():
            if row in self._together or row.embed is not None:
                continue
            if chosen and (not self._reads_together(row) or not self._reads_together(chosen[0])):
                break
            longest = max(longest, row.next_stop(limits.chunk) - row.read)
            # Shorter ones are padded to the longest.
            if chosen and (
                len(chosen) >= limits.prompts or (len(chosen) + 1) * longest > limits.tokens
            ):
                break
            chosen.append(row)
        return chosen

    def _reads_together(self, row: Row) -> bool:
        return self._pads and row.feed is None

    def _gather(self, chosen: list[Row]) -> CacheBatch:
        """The batch of the chosen rows' caches."""
        new = [row for row in chosen if row not in self._together]
        if new:
            joining = self._batch_of(new)
            if self._batch is None:
                self._batch = joining
            else:
                self._batch.extend(joining)
            for row in new:
                row.cache = None
            self._together = chosen
        assert self._batch is not None, "chosen rows are in a batch"
        return self._batch

    def _batch_of(self, rows: list[Row]) -> CacheBatch:
        # Embedded prompts are fed to their own cache.
        lone = self._lone or rows[0].feed is not None
        return CacheBatch([row.cache for row in rows if row.cache is not None], lone=lone)

    def _read(self, rows: list[Row], batch: CacheBatch, chunk: int) -> None:
        """Read each row's next chunk; shorter ones are padded behind their end."""
        stops = [row.next_stop(chunk) for row in rows]
        lengths = [stop - row.read for row, stop in zip(rows, stops, strict=True)]
        longest = max(lengths)
        if longest == 0:
            return
        if (feed := rows[0].feed) is not None:
            feed(rows[0].read, stops[0], batch.layers)
        else:
            ids = [
                row.tokens[row.read : stop] + [0] * (longest - length)
                for row, stop, length in zip(rows, stops, lengths, strict=True)
            ]
            padding = [longest - length for length in lengths]
            if any(padding):
                for layer in batch.layers:
                    layer.prepare(lengths=lengths, right_padding=padding)
            self._model.forward(mx.array(ids), batch.layers)
            if batch.rows > 1:
                for layer in batch.layers:
                    layer.finalize()
        kv_cache.evaluate(batch.layers)
        self._clear(longest * len(rows))
        for row, stop in zip(rows, stops, strict=True):
            row.read = stop

    def _clear(self, tokens: int) -> None:
        self._unclear += tokens
        if self._unclear >= TOKENS_BETWEEN_CLEARING:
            self._unclear = 0
            mx.clear_cache()

    def _finished(self, rows: list[Row], batch: CacheBatch) -> tuple[list[Row], CacheBatch] | None:
        done = [i for i, row in enumerate(rows) if row.read == row.last]
        if not done:
            return None
        finished = [rows[i] for i in done]
        self.rows = [row for row in self.rows if row not in finished]
        if len(done) == len(rows):
            self._together, self._batch = [], None
            return finished, batch
        taken = batch.split(done)
        self._together = [row for row in rows if row.read != row.last]
        return finished, taken
