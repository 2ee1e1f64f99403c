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
from worker.backends.batching.cache_batch import CacheBatch
from worker.backends.batching.chunk import PIECE_S, Chunk, Pace
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
        attended: bool,
        least_shared: int,
        pace: Pace,
        look_up: Callable[[Row], None],
    ) -> None:
        """``checkpoints``: the model's cache has layers that can't be cut. ``attended``: clients
        wait for the rows. ``least_shared`` is how many tokens a prompt must have in common with one
        that is being read to wait for it. ``pace`` is kept up to date. ``look_up`` sets ``cache``
        and ``read`` of a row that is about to be read, unless it waits for the disk."""
        self._model = model
        self._pads = abilities.pads
        self._checkpoints = checkpoints
        self._lone = abilities.lone
        self._attended = attended
        self._least_shared = least_shared
        self._look_up = look_up
        self._unclear = 0
        self._pace = pace
        self._chunk: Chunk | None = None
        """What is being read now."""
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
        for other in self.rows if row.reads_ahead else ():
            least = max(row.least_shared(other, self._least_shared), shared + 1)
            same = common_tokens(row.prompt_key, other.prompt_key, least)
            common = min(same, row.last, other.last)
            if other.reusable and common >= least and common > other.read:
                row.awaits, shared = (other, common), common
        if row.awaits is not None and self._checkpoints:
            row.awaits[0].places.add(shared)

    @property
    def waits_for_embeddings(self) -> bool:
        """Whether no row can be read, because all wait for their embeddings."""
        return all(row.embed is not None for row in self.rows)

    @property
    def waits_for_disk(self) -> bool:
        """Whether no row can be read, because all wait for an entry on the disk."""
        return bool(self.rows) and all(row.waits_for_disk for row in self.rows)

    @property
    def token_s(self) -> float:
        """How long a token took to be read in the last chunk; infinite before the first."""
        return self._pace.token_s

    def step(self, step: Step, limits: Limits) -> tuple[list[Row], CacheBatch] | None:
        """Embed a prompt, or read a chunk of some, for a tenth of a second or one layer: what is
        left of the chunk is read in the next steps. Returns rows that have been read to their last
        token, with their caches."""
        if self._chunk is None:
            if self._embed_some():
                return None
            if (known := self._known_whole()) is not None:
                return known
            limits = self._in_time(limits)
            chosen = self._choose(limits)
            if not chosen:
                return None
            batch = self._gather(chosen)
            self._chunk = Chunk(self._model, chosen, batch, limits.chunk, self._pace)
        if not self._chunk.run(PIECE_S):
            return None
        return self._end_chunk(step)

    def _end_chunk(self, step: Step) -> tuple[list[Row], CacheBatch] | None:
        chunk, self._chunk = self._chunk, None
        assert chunk is not None, "a chunk has been read"
        self._clear(chunk.tokens)
        chosen, batch = chunk.rows, chunk.batch
        if chunk.measured and self._attended:
            # Else the bytes are worked out after the end, beside the engine.
            first = chosen[0].read + 1 - len(chunk.measured)
            chosen[0].sequence.prompt_read(first, chunk.measured)
        for index, row in enumerate(chosen):
            if row.read in row.places:
                row.places.discard(row.read)
                row.checkpoints[row.read] = batch.checkpoint(index)
            step.prefill.append((row.sequence, row.read, row.prompt_length))
        return self._finished(chosen, batch)

    def remove(self, row: Row) -> list[Any] | None:
        """Drop a row; returns its cache, which holds what was read, None if it has none yet."""
        if self._chunk is not None and row in self._chunk.rows:
            self._chunk.drop(row)
            self._chunk = self._chunk if self._chunk.rows else None
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
                if row.cache is None:
                    continue  # It waits for the disk; the wait may be over by now.
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
        apart = [row for row in known if row.prompt_logprobs is not None]
        known = apart[:1] or (known if self._pads else known[:1])
        if not known:
            return None
        self.rows = [row for row in self.rows if row not in known]
        return known, self._batch_of(known)

    def _in_time(self, limits: Limits) -> Limits:
        """The limits of a chunk that the model reads in good time."""
        most = self._pace.most
        each = max(1, most // max(1, len(self._together)))
        return Limits(min(limits.chunk, each), limits.prompts, min(limits.tokens, most))

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
        return self._pads and row.feed is None and row.prompt_logprobs is None

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
