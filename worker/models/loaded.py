"""The models in memory: loaded on demand, within a budget, least recently used unloaded first.

Runs on the engine's thread; a thread of its own opens models, so that others' streams go on
meanwhile. Knows model records and backends; knows no chat's text and no Redis.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from wire.messages import ChatJob
from wire.model_registry import ModelRecord
from worker.backends.base import Backend
from worker.errors import WorkerError
from worker.models.adapters import resident as adapters
from worker.models.load import Load, LoadProgress, Open, Post, ended, opened, started, then
from worker.models.memory import HEADROOM, ModelKey, ModelMemory, key_of

Find = Callable[[str], ModelRecord | None]


class LoadedModels(ModelMemory):
    """``find`` looks a record up; ``open_backend`` loads it, on any thread. ``budget`` and
    ``available`` are as in ModelMemory. ``progress`` is told by ``open_backend`` how far it is."""

    def __init__(
        self,
        find: Find,
        open_backend: Open,
        *,
        budget: int,
        available: Callable[[], int],
        progress: LoadProgress | None = None,
    ) -> None:
        super().__init__(budget, available)
        self._progress = progress or LoadProgress()
        self._find = find
        self._open = open_backend

    def key(self, job: ChatJob) -> ModelKey | None:
        """The model that a chat needs as it is registered now, or None if it isn't (any more). For
        a chat with an adapter its base."""
        record = self._find(job.model_id)
        base = None if record is None else self._base_of(record)
        return None if base is None else key_of(base)

    def _base_of(self, record: ModelRecord) -> ModelRecord | None:
        """The model itself, or an adapter's base; None if that is registered no more."""
        if not record.adapter_path:
            return record
        return self._find(record.base_id)

    def is_loaded(self, job: ChatJob) -> bool:
        """Whether the chat's model is in memory, with its adapter."""
        backend = self._resident.get(key) if (key := self.key(job)) is not None else None
        return backend is not None and self.holds(backend, job.model_id)

    def is_loading(self, job: ChatJob) -> bool:
        record = self._find(job.model_id)
        loads = self._loads.keys
        return record is not None and (key_of(record) in loads or self.key(job) in loads)

    def get(self, job: ChatJob) -> Backend:
        """The chat's model, which is loaded; marked as used.

        Raises WorkerError if it is registered no more, or its files have changed.
        """
        return self._used(self._record_of(job))

    def load_for(self, job: ChatJob, post: Post) -> Future[Backend]:
        """The chat's model, as ``load`` loads it."""
        return self.load(self._record_of(job), post)

    def load(self, record: ModelRecord, post: Post) -> Future[Backend]:
        """Load a model, or mark it as used. The same model loaded another way is replaced.

        It is opened on a thread of its own; ``post`` brings work back to this one, which goes on
        with ``start_some`` for as long as a model is ``starting``. The future ends on this thread,
        with ``load_failed`` for a bad model. Raises WorkerError for what is known before, such as
        ``insufficient_memory``.
        """
        if record.problem:
            raise WorkerError("load_failed", record.problem)
        key = key_of(record)
        if (under_way := self._loads.get(key)) is not None:
            return under_way.done
        if record.adapter_path:
            return self._load_adapter(record, post)
        if key in self._resident:
            return ended(self._used(record))
        self._make_way(record)
        keep = partial(self._use, key)
        load = Load(record.loaded_size * HEADROOM, started, keep)
        self._progress.report(record.id, 0.0)
        return self._loads.begin(key, load, partial(opened, self._open, record), post)

    def _load_adapter(self, record: ModelRecord, post: Post) -> Future[Backend]:
        """Load an adapter, behind its base."""
        base = self._base_of(record)
        if base is None:
            raise WorkerError("model_not_found", "The adapter's base is not registered any more.")
        backend = self._resident.get(key_of(base))
        if backend is None:
            return then(self.load(base, post), partial(self.load, record, post))
        if self._adapters.get(record.id) is backend:
            return ended(self._used(record))
        self._check_memory(record)
        self._make_room(record)
        keep = partial(self._adapters.__setitem__, record.id)
        load = Load(record.size * HEADROOM, partial(adapters.attach, record), keep, is_adapter=True)
        self.claim(record.id, backend, record.id)
        load.done.add_done_callback(lambda _: self.unclaim(record.id))
        opens = partial(adapters.read, backend)
        return self._loads.begin(key_of(record), load, partial(opened, opens, record), post)

    def _used(self, record: ModelRecord) -> Backend:
        """A loaded model, marked as used."""
        base = self._base_of(record)
        assert base is not None, "a loaded model is registered"
        backend = self._resident[key_of(base)]
        self._use(key_of(base), backend)
        if record.id in self._adapters:
            self._adapters.move_to_end(record.id)
        return backend

    @property
    def starting(self) -> bool:
        """Whether a model is open and has to be tried out."""
        return self._loads.starting

    def start_some(self) -> None:
        """Go on with trying out a model, for some hundredths of a second or one layer."""
        self._loads.start_some()

    def _make_way(self, record: ModelRecord) -> None:
        """Unload what the model takes the place of. Raises WorkerError if it can't be loaded."""
        # Keys alone, here and below: a backend that is held would not leave the memory.
        others = [key for key in self._resident if key.model_id == record.id]
        if any(self.is_used(key) for key in others):
            raise WorkerError(
                "load_conflict", "The model is in use; it can be reloaded once its chats end."
            )
        if any(key.model_id == record.id for key in self._loads.keys):
            raise WorkerError(
                "load_conflict", "The model is being loaded; it can be reloaded after that."
            )
        self._check_memory(record)
        for other in others:
            self.unload(other)
        self._make_room(record)

    def has_room(self, job: ChatJob) -> bool:
        """Whether the chat's model can be loaded now, by unloading idle ones if need be.

        True also when the load would fail for good: then loading is tried, and tells why.
        """
        record = self._find(job.model_id)
        base = None if record is None else self._base_of(record)
        if record is None or base is None:
            return True
        if base is not record and key_of(base) not in self._resident:  # Both are to be loaded.
            return self._fits(base.model_copy(update={"size": base.size + record.size}))
        return self._fits(record)

    def holds(self, backend: Backend, model_id: str) -> bool:
        """Whether a model is still in memory, and, if ``model_id`` is an adapter's, that in it."""
        there = any(resident is backend for resident in self._resident.values())
        record = self._find(model_id)
        wants_adapter = record is not None and bool(record.adapter_path)
        return there and (not wants_adapter or self._adapters.get(model_id) is backend)

    @property
    def loading(self) -> list[ModelKey]:
        """The models that are being opened or tried out."""
        return self._loads.keys

    def load_progress(self) -> dict[str, float]:
        """How much of the weights of each model that is being loaded is in memory, 0 to 1, by the
        model's id. From any thread; slightly old is good enough."""
        return {key.model_id: self._progress.of(key.model_id) for key in self.loading}

    def close(self) -> None:
        self._loads.close()
        for key in list(self._resident):
            self.unload(key)

    def _record_of(self, job: ChatJob) -> ModelRecord:
        record = self._find(job.model_id)
        if record is None:
            raise WorkerError("model_not_found", "The model is not registered any more.")
        if record.revision != job.model_revision:
            raise WorkerError(
                "model_changed", "The model's files have changed since this chat was accepted."
            )
        return record

    def log_fields(self, model_id: str) -> dict[str, str]:
        """What a log line says of a model, also of one that is gone. Any thread may ask."""
        record = self._find(model_id)
        return {"model_id": model_id} if record is None else record.log_fields
