"""Runs a model's sequences in one continuous batch: text, vision and quantised caches alike.

A step reads a chunk of the prompts that wait and then decodes one token of every running row, so
streams go on while prompts are read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from collections.abc import Sequence as Items
from typing import Any

import mlx.core as mx

from wire.model_registry import ModelRecord
from worker.backends.base import Step
from worker.backends.batching import kv_cache
from worker.backends.batching.cache_batch import CacheBatch
from worker.backends.batching.cache_codec import CacheCodec
from worker.backends.batching.checkpoints import chosen_places
from worker.backends.batching.chunk import Pace
from worker.backends.batching.decode_batch import DecodeBatch
from worker.backends.batching.prefill import Limits, Prefill
from worker.backends.batching.prompt_reuse import LEAST_SHARED, PromptReuse
from worker.backends.batching.row import Model, Row
from worker.backends.batching.self_check import Abilities, abilities
from worker.backends.drafting.draft_length import DraftLength
from worker.backends.drafting.draft_model import DraftModel
from worker.backends.drafting.drafter import Drafter
from worker.backends.sampling.special_tokens import refuse_unknown_ids
from worker.errors import WorkerError
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence

IDLE_CHUNK = 512
"""Prompt tokens a step when no stream is running: larger chunks are read faster."""
READ_TOGETHER, READ_WHILE_OTHERS_WAIT, READ_IN_BATCH_LANE = 8, 4, 1
"""Prompts of a whole chunk that are read at once; fewer while others wait for the end of the step,
and still fewer in a batch lane. Of shorter prompts as many more are read as have the same number
of tokens, unless others wait."""
JOINING_PART = 4
"""In a batch lane, new rows join when one in so many rows is free. Each join and each leave copies
the caches of all rows, and rows of one length that join together leave together."""
LEAST_AWAITED = 256
"""Tokens that a chat's prompt must have in common with one that is being read to wait for it: fewer
are sooner read beside it."""
DISK_POLL_S = 0.05
"""How long the engine may rest while all prompts wait for the disk; what comes from there ends the
rest."""
STEPS_BETWEEN_CLEARING = 512
"""MLX keeps freed buffers for reuse, and batches of ever new shapes would accumulate them. mlx_lm
clears as often."""


class BatchBackend:
    """Implements Backend. ``slots`` is how many rows may be in the batch, those whose prompts are
    read included; ``num_draft_tokens`` how many tokens of a row may be guessed in a step from what
    it says already. ``draft_model`` guesses where that doesn't pay."""

    def __init__(
        self,
        model: Model,
        record: ModelRecord,
        *,
        slots: int,
        prefill_step: int,
        cache: PromptCache,
        num_draft_tokens: int = 0,
        draft_model: DraftModel | None = None,
    ) -> None:
        self.adapters = model.adapters
        self._model = model
        self._draft_model = draft_model
        self._key = record.cache_key
        self._record = record
        self._abilities = Abilities()
        self._pace = Pace()
        self._vocabulary = 0
        """How many logits the model has, once it has been started."""
        self._started = False
        self._slots = slots
        self._prefill_step = prefill_step
        self._prompt_cache = cache
        self._draft_length = DraftLength(num_draft_tokens)
        self._steps = 0
        self._attended = True
        """Whether clients wait for the rows. Else rows join in groups, and their caches are dropped
        when they end."""
        self._reuse = PromptReuse(model, cache, self._key)
        if cache.disk is not None:
            cache.disk.opening(record.path)
        self.reset()

    def start(self) -> Iterator[None]:
        if self._started:
            return
        self._started = True
        yield from self._model.caches.start(self._model.forward)
        # Nothing of this is computed: the shape is known before.
        logits = self._model.forward(mx.array([[0]]), self._model.caches.new())
        self._vocabulary = logits.shape[-1]
        wants_drafts = self._draft_length.most > 0 or self._draft_model is not None
        self._abilities = yield from abilities(
            self._model, self._record.architecture, drafts=wants_drafts
        )
        self._pace = Pace.expected(self._abilities.token_s)
        if self._draft_model is not None:
            if not self._abilities.drafts:
                raise WorkerError(
                    "load_failed",
                    f"{self._record.name} takes no draft model: its cache can't be cut back to the"
                    " tokens that were right, row by row.",
                    param="draft_model",
                )
            yield from self._draft_model.start(self._vocabulary)
        self.reset()
        if (disk := self._prompt_cache.disk) is not None:
            codec = CacheCodec(self._model.caches.new())
            disk.attach(self._key, self._record.path, self._record.revision, codec)

    def reset(self) -> None:
        self._model.reset()
        self._waiting: list[Row] = []
        self._prefill = Prefill(
            self._model,
            abilities=self._abilities,
            checkpoints=self._model.caches.needs_checkpoints,
            attended=self._attended,
            least_shared=LEAST_AWAITED if self._attended else LEAST_SHARED,
            pace=self._pace,
            look_up=self._look_up,
        )
        self._decode = DecodeBatch(
            self._model,
            together=self._abilities.batches,
            lone=self._abilities.lone,
            attended=self._attended,
            drafter=self._new_drafter(),
        )

    @property
    def weight_bytes(self) -> int:
        adapters = 0 if self.adapters is None else sum(self.adapters.nbytes.values())
        drafts = 0 if self._draft_model is None else self._draft_model.weight_bytes
        return self._model.weight_bytes + adapters + drafts

    def _new_drafter(self) -> Drafter | None:
        if not self._abilities.drafts:
            return None
        model = self._draft_model
        rows = None if model is None else model.rows(attended=self._attended)
        return Drafter(self._draft_length, rows)

    def batch_lane(self) -> BatchBackend:
        second = copy.copy(self)
        second._attended = False
        second._reuse = PromptReuse(self._model, self._prompt_cache, self._key, from_disk=False)
        second._draft_length = DraftLength(self._draft_length.most)
        if self._draft_model is not None:
            second._draft_model = self._draft_model.lane()
        second.reset()
        return second

    def close(self) -> None:
        self.reset()
        self._model.close()
        self._prompt_cache.forget(self._key)
        if self._draft_model is not None:
            self._draft_model.close()
        if (disk := self._prompt_cache.disk) is not None:
            disk.detach(self._key)
        mx.clear_cache()

    def prepare(self, sequence: Sequence) -> list[str]:
        return self._model.prepare(sequence)

    def cache_key(self, sequence: Sequence) -> Items[int]:
        return self._model.cache_key(sequence)

    def add(self, sequence: Sequence) -> None:
        refuse_unknown_ids(sequence.job.sampling, self._vocabulary)
        row = self._model.open(sequence)
        if row.left <= 0 and row.prompt_logprobs is None:
            raise WorkerError(
                "prompt_too_long", "The conversation fills the model's context window."
            )
        if self._model.caches.needs_checkpoints:
            row.places = chosen_places(sequence.checkpoints, row.last)
            if sequence.job.group is not None and row.last:
                row.places.add(row.last)  # where other answers to the prompt begin
        self._waiting.append(row)

    def step(self, others_waiting: bool = False) -> Step:
        step = Step()
        self._steps += 1
        if self._steps % STEPS_BETWEEN_CLEARING == 0:
            mx.clear_cache()
        rest_s = self._model.poll(others_waiting or not self._waits)
        # First, so that who has just come waits for no step of the others, and their tokens for no
        # prompt.
        self._read(step, others_waiting)
        if self._decode.rows:
            self._leave(self._decode.step(step))
        if not self._decode.rows and not self._waiting and self._prefill.waits_for_disk:
            step.rest_s = DISK_POLL_S
        elif others_waiting and self._waits:
            step.rest_s = rest_s
        return step

    def remove(self, sequence: Sequence) -> None:
        for row in [row for row in self._rows() if row.sequence is sequence]:
            self._model.removed(row)
            if row in self._waiting:
                self._waiting.remove(row)
            elif row in self._prefill.rows:
                cache = self._prefill.remove(row)  # This may read the row further.
                self._keep(row, row.read, cache)
            else:
                self._keep(row, self._decode.held(row), self._decode.cache_of(row))
                self._decode.remove([row])

    def sequences(self) -> list[Sequence]:
        return [row.sequence for row in self._rows()]

    def prefilling(self) -> list[Sequence]:
        return [sequence for sequence in self.sequences() if not sequence.generated]

    def _rows(self) -> list[Row]:
        return [*self._decode.rows, *self._prefill.rows, *self._waiting]

    @property
    def _waits(self) -> bool:
        """Whether there is nothing to decode or read: all rows wait for their embeddings."""
        return not self._decode.rows and not self._waiting and self._prefill.waits_for_embeddings

    # --- reading ----------------------------------------------------------------------------------

    def _read(self, step: Step, others_waiting: bool) -> None:
        room = self._slots - len(self._decode.rows) - len(self._prefill.rows)
        if self._waiting and room > 0 and not self._gathers(room):
            for row in self._waiting[:room]:
                self._prefill.add(row)
            del self._waiting[:room]
        if not self._prefill.rows:
            return
        self._decode.interrupted()
        finished = self._prefill.step(step, self._limits(others_waiting))
        if finished is not None and not self._ends_with_prompt(*finished, step):
            self._decode.join(*finished)

    def _ends_with_prompt(self, rows: list[Row], batch: CacheBatch, step: Step) -> bool:
        """Return the log-probabilities of a prompt, if they are asked for; whether nothing else
        is. Such a row is read by itself."""
        row = rows[0]
        if row.prompt_logprobs is None:
            return False
        step.prompts.append((row.sequence, row.measured))
        if row.left > 0:
            return False
        self._keep(row, row.read, batch.extract(0))
        return True

    def _gathers(self, room: int) -> bool:
        """Whether prompts wait until more rows are free, to join together."""
        if self._attended or not self._decode.rows or self._prefill.rows:
            return False
        return room < min(self._slots // JOINING_PART, len(self._waiting))

    def _limits(self, others_waiting: bool) -> Limits:
        busy = others_waiting or bool(self._decode.rows)
        chunk = self._prefill_step if busy else IDLE_CHUNK
        fewer = READ_WHILE_OTHERS_WAIT if self._attended else READ_IN_BATCH_LANE
        prompts = fewer if others_waiting else self._slots
        return Limits(chunk, prompts, chunk * READ_TOGETHER)

    def _look_up(self, row: Row) -> None:
        self._reuse.look_up(row, self._decode, self._prefill)

    # --- leaving ----------------------------------------------------------------------------------

    def _leave(self, ended: list[Row]) -> None:
        """Take rows out that have ended; their caches hold all their tokens that were fed."""
        if self._attended:
            for row in ended:
                self._keep(row, self._decode.held(row), self._decode.cache_of(row))
        self._decode.remove(ended)

    def _keep(self, row: Row, held: int, cache: list[Any] | None) -> None:
        row.embed = row.feed = None
        if held and cache is not None and row.reusable:
            self._prompt_cache.insert(
                self._key, row.key_ids[:held], kv_cache.settle(cache), row.checkpoints
            )
