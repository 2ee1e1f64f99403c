"""The models in memory: loaded on demand, within a budget, least recently used unloaded first.

Runs on the engine's thread; a thread of its own opens models, so that others' streams go on
meanwhile. Knows model records and backends; knows no chat's text and no Redis.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Literal

from wire.messages import ChatJob
from wire.model_registry import ModelRecord
from worker.backends.base import Backend
from worker.backends.cpu import malloc
from worker.errors import WorkerError
from worker.models.load import Load, LoadProgress, Open, opened
from worker.models.load_thread import LoadThread

HEADROOM = 1.1
"""A load needs this many times the bytes on disk: weights are cast and warmed up before the
file's pages go."""


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What makes two chats share a batch: the same model, loaded the same way."""

    model_id: str
    revision: str
    kv_quantization: Literal[4, 8] | None
    draft_model: str = ""


Find = Callable[[str], ModelRecord | None]
Post = Callable[[Callable[[], None]], None]


class LoadedModels:
    """Resident models, most recently used last.

    ``find`` looks a record up; ``open_backend`` loads it, on any thread.

    ``budget`` is in bytes of weights; ``available`` reads how many bytes are free on
    this machine. ``progress`` is told by ``open_backend`` how far it is. ``pinned`` are the ids of
    models that are not unloaded to make room, ``ttls`` the seconds that others may be idle; any
    thread may replace them. ``expiries``: seconds until idle ones are unloaded, by id.
    """

    def __init__(
        self,
        find: Find,
        open_backend: Open,
        *,
        budget: int,
        available: Callable[[], int],
        progress: LoadProgress | None = None,
    ) -> None:
        self.pinned: frozenset[str] = frozenset()
        self.ttls: dict[str, float] = {}
        self.expiries: dict[str, float] = {}
        self._progress = progress or LoadProgress()
        self._find = find
        self._open = open_backend
        self._budget = budget
        self._available = available
        self._resident: OrderedDict[ModelKey, Backend] = OrderedDict()
        self._batch_lanes: dict[Backend, Backend] = {}
        self._loads: dict[ModelKey, Load] = {}
        self._claims: dict[str, Backend] = {}
        self._thread = LoadThread()

    def key(self, job: ChatJob) -> ModelKey | None:
        """The model that a chat needs as it is registered now, or None if it isn't (any more)."""
        record = self._find(job.model_id)
        return None if record is None else key_of(record)

    def is_loaded(self, job: ChatJob) -> bool:
        return self.key(job) in self._resident

    def is_loading(self, job: ChatJob) -> bool:
        return self.key(job) in self._loads

    def get(self, job: ChatJob) -> Backend:
        """The chat's model, which is loaded; marked as used.

        Raises WorkerError if it is registered no more, or its files have changed.
        """
        return self._used(key_of(self._record_of(job)))

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
        key = key_of(record)
        if (load := self._loads.get(key)) is not None:
            return load.done
        load = Load(record.loaded_size * HEADROOM)
        if key in self._resident:
            load.done.set_result(self._used(key))
            return load.done
        self._make_way(record)
        self._loads[key] = load
        self._progress.report(record.id, 0.0)
        opening = self._thread.submit(partial(opened, self._open, record))
        opening.add_done_callback(lambda ended: post(partial(self._begin_start, key, ended)))
        return load.done

    def _used(self, key: ModelKey) -> Backend:
        self._resident.move_to_end(key)
        return self._resident[key]

    def _begin_start(self, key: ModelKey, opening: Future[Backend]) -> None:
        if (error := opening.exception()) is not None:
            self._loads.pop(key).done.set_exception(error)
            return
        self._loads[key].opened(opening.result())

    @property
    def starting(self) -> bool:
        """Whether a model is open and has to be tried out."""
        return any(load.is_open for load in self._loads.values())

    def start_some(self) -> None:
        """Go on with trying out a model, for some hundredths of a second or one layer."""
        key, load = next((key, load) for key, load in self._loads.items() if load.is_open)
        try:
            backend = load.run_pieces()
        except WorkerError as refused:
            del self._loads[key]
            load.done.set_exception(refused)
            return
        if backend is not None:
            del self._loads[key]
            self._resident[key] = backend
            load.done.set_result(backend)

    def _make_way(self, record: ModelRecord) -> None:
        """Unload what the model takes the place of. Raises WorkerError if it can't be loaded."""
        others = [(k, b) for k, b in self._resident.items() if k.model_id == record.id]
        if any(self._in_use(backend) for _, backend in others):
            raise WorkerError(
                "load_conflict", "The model is in use; it can be reloaded once its chats end."
            )
        if any(key.model_id == record.id for key in self._loads):
            raise WorkerError(
                "load_conflict", "The model is being loaded; it can be reloaded after that."
            )
        self._check_memory(record)
        for other, _ in others:
            self.unload(other)
        self._make_room(record)

    def has_room(self, job: ChatJob) -> bool:
        """Whether the chat's model can be loaded now, by unloading idle ones if need be.

        True also when the load would fail for good: then loading is tried, and tells why.
        """
        record = self._find(job.model_id)
        if record is None or record.loaded_size * HEADROOM > self._budget - self._pinned_bytes(
            record
        ):
            return True
        kept = {k: b for k, b in self._resident.items() if not self._can_go(k, b, record)}
        if any(key.model_id == record.id for key in (*kept, *self._loads)):
            return False
        held = sum(backend.weight_bytes for backend in kept.values()) + self._reserved
        needed = record.loaded_size * HEADROOM
        # What a load has not taken yet still counts as free on this machine.
        return held + needed <= self._budget and (not self._loads or needed <= self._free(record))

    def claim(self, job_id: str, backend: Backend) -> None:
        """Keep a model for a chat that is about to join its batch: no other takes its memory."""
        self._claims[job_id] = backend

    def unclaim(self, job_id: str) -> None:
        self._claims.pop(job_id, None)

    def holds(self, backend: Backend) -> bool:
        return any(resident is backend for resident in self._resident.values())

    def batch_lane(self, backend: Backend) -> Backend:
        """The second batch of a loaded model, for prompts of batches; it goes with the model."""
        if backend not in self._batch_lanes:
            self._batch_lanes[backend] = backend.batch_lane()
        return self._batch_lanes[backend]

    def unload(self, key: ModelKey) -> None:
        backend = self._resident.pop(key)
        if (second := self._batch_lanes.pop(backend, None)) is not None:
            second.close()
        backend.close()
        del backend, second
        malloc.give_back()

    def resident(self) -> list[tuple[ModelKey, Backend]]:
        """Loaded models, most recently used first."""
        return list(reversed(self._resident.items()))

    def backends(self) -> list[Backend]:
        return list(self._resident.values())

    @property
    def loading(self) -> list[ModelKey]:
        """The models that are being opened or tried out."""
        return list(self._loads)

    def load_progress(self) -> dict[str, float]:
        """How much of the weights of each model that is being loaded is in memory, 0 to 1, by the
        model's id. From any thread; slightly old is good enough."""
        return {key.model_id: self._progress.of(key.model_id) for key in self.loading}

    def close(self) -> None:
        self._thread.close()
        for load in self._loads.values():
            load.close()
        for key in list(self._resident):
            self.unload(key)

    def _in_use(self, backend: Backend) -> bool:
        """Whether the model is running chats or prompts of batches, or about to."""
        second = self._batch_lanes.get(backend)
        claimed = any(claimed is backend for claimed in self._claims.values())
        return (
            claimed
            or bool(backend.sequences())
            or (second is not None and bool(second.sequences()))
        )

    def _can_go(self, key: ModelKey, backend: Backend, record: ModelRecord) -> bool:
        """Whether a model in memory may make room for another, or for itself loaded otherwise."""
        pinned = key.model_id in self.pinned and key.model_id != record.id
        return not pinned and not self._in_use(backend)

    def _pinned_bytes(self, record: ModelRecord) -> int:
        """Bytes of pinned models in memory, without the model itself."""
        others = self.pinned - {record.id}
        return sum(b.weight_bytes for k, b in self._resident.items() if k.model_id in others)

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

    @property
    def _reserved(self) -> float:
        return sum(load.reserved for load in self._loads.values())

    def _free(self, record: ModelRecord) -> float:
        """Bytes of this machine that a load may take: free, or held by models that can go."""
        idle = (b.weight_bytes for k, b in self._resident.items() if self._can_go(k, b, record))
        return self._available() + sum(idle) - self._reserved

    def _check_memory(self, record: ModelRecord) -> None:
        needed = int(record.loaded_size * HEADROOM)
        pinned = self._pinned_bytes(record)
        limit = max(0, int(min(self._budget - pinned, self._free(record))))
        if needed > limit:
            beside = " beside the pinned models" if pinned else ""
            raise WorkerError(
                "insufficient_memory",
                f"The model needs {needed >> 20} MiB of memory; {limit >> 20} MiB can be had"
                f"{beside}.",
            )

    def _make_room(self, record: ModelRecord) -> None:
        needed = record.loaded_size * HEADROOM
        for key, backend in list(self._resident.items()):
            held = sum(b.weight_bytes for b in self._resident.values()) + self._reserved
            if held + needed <= self._budget:
                return
            if self._can_go(key, backend, record):
                self.unload(key)


def key_of(record: ModelRecord) -> ModelKey:
    return ModelKey(record.id, record.revision, record.kv_quantization, record.draft_model)
