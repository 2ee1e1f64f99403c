"""A draft model that has been opened beside the model it guesses for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx

from wire.model_registry import ModelRecord
from worker.backends.batching.row import Model
from worker.backends.batching.self_check import abilities
from worker.backends.draft_model.draft_rows import DraftRows
from worker.backends.drafting.draft_length import DraftLength
from worker.errors import WorkerError
from worker.prompt_cache import DraftKey, PromptCache


class LoadedDraftModel:
    """Implements DraftModel. ``most`` is the longest draft; ``chunk`` how many tokens are read at
    once. What has been read of prompts is kept in ``cache``, beside that of the model with the id
    ``guesses_for``."""

    def __init__(
        self,
        model: Model,
        record: ModelRecord,
        guesses_for: str,
        *,
        most: int,
        chunk: int,
        cache: PromptCache,
    ) -> None:
        self.weight_bytes = model.weight_bytes
        self._model = model
        self._record = record
        self._key = DraftKey(record.id, guesses_for)
        self._chunk = chunk
        self._cache = cache
        self._width = self._own_width = 0
        self._length = DraftLength(most)

    def start(self, width: int) -> Iterator[None]:
        self._width = width
        # Nothing of this is computed: the shape is known before.
        self._own_width = self._model.forward(mx.array([[0]]), self._model.caches.new()).shape[-1]
        tried = yield from abilities(self._model, self._record.architecture, drafts=True)
        # Windows can be cut by what they were fed last, but not by several guesses, one by one.
        if not tried.drafts or self._model.caches.needs_checkpoints:
            raise WorkerError(
                "load_failed",
                f"{self._record.name} can't be a draft model: its cache can't be cut back to the"
                " tokens that were accepted, row by row.",
                param="draft_model",
            )

    def rows(self, *, attended: bool) -> DraftRows:
        return DraftRows(
            self._logits,
            self._model.caches.new,
            self._cache,
            key=self._key,
            length=self._length,
            chunk=self._chunk,
            keeps=attended,
        )

    def lane(self) -> LoadedDraftModel:
        second = LoadedDraftModel(
            self._model,
            self._record,
            self._key.guesses_for,
            most=self._length.most,
            chunk=self._chunk,
            cache=self._cache,
        )
        second._width, second._own_width = self._width, self._own_width
        return second

    def close(self) -> None:
        self._model.close()
        self._cache.forget(self._key)

    def _logits(self, ids: mx.array, layers: list[Any]) -> mx.array:
        """As many as the other model has: vocabularies are padded to different sizes."""
        logits = self._model.forward(mx.minimum(ids, self._own_width - 1), layers)
        missing = self._width - self._own_width
        if missing <= 0:
            return logits[..., : self._width]
        return mx.pad(logits, [(0, 0), (0, 0), (0, missing)], constant_values=-mx.inf)
