"""The models in memory: loaded on demand, within a budget, least recently used unloaded first.

Runs on the engine's thread. Knows model records and backends; knows no chat's text and no Redis.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from wire.messages import ChatJob
from wire.model_registry import ModelRecord
from worker.backends.base import Backend
from worker.backends.cpu import malloc
from worker.errors import WorkerError, kept_alive

log = logging.getLogger(__name__)

HEADROOM = 1.1
"""A load needs this many times the bytes on disk: weights are cast and warmed up before the
file's pages go."""

WHAT_TO_DO = (
    "The worker's log says more, and `mlxq doctor` looks for what is wrong with the machine."
)


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What makes two chats share a batch: the same model, loaded the same way."""

    model_id: str
    revision: str
    kv_quantization: Literal[4, 8] | None


Open = Callable[[ModelRecord], Backend]
Find = Callable[[str], ModelRecord | None]


class LoadedModels:
    """Resident models, most recently used last.

    ``find`` looks a record up; ``open_backend`` loads it.

    ``budget`` is in bytes of weights; ``available`` reads how many bytes are free on
    this machine.
    """

    def __init__(
        self, find: Find, open_backend: Open, *, budget: int, available: Callable[[], int]
    ) -> None:
        self._find = find
        self._open = open_backend
        self._budget = budget
        self._available = available
        self._resident: OrderedDict[ModelKey, Backend] = OrderedDict()
        self._batch_lanes: dict[Backend, Backend] = {}

    def key(self, job: ChatJob) -> ModelKey | None:
        """The model that a chat needs as it is registered now, or None if it isn't (any more)."""
        record = self._find(job.model_id)
        return None if record is None else _key(record)

    def is_loaded(self, job: ChatJob) -> bool:
        return self.key(job) in self._resident

    def get(self, job: ChatJob) -> Backend:
        """The chat's model, loaded if it isn't.

        Raises WorkerError with the reason if that can't be.
        """
        record = self._record(job.model_id)
        if record.revision != job.model_revision:
            raise WorkerError(
                "model_changed", "The model's files have changed since this chat was accepted."
            )
        return self.load(record)

    def load(self, record: ModelRecord) -> Backend:
        """Load a model, or mark it as used. The same model loaded another way is replaced.

        Raises WorkerError ``insufficient_memory`` before anything is loaded, ``load_failed`` for a
        bad model.
        """
        key = _key(record)
        if key in self._resident:
            self._resident.move_to_end(key)
            return self._resident[key]
        others = [(k, b) for k, b in self._resident.items() if k.model_id == key.model_id]
        if any(self._in_batch(backend) for _, backend in others):
            raise WorkerError(
                "load_conflict", "The model is in use; it can be reloaded once its chats end."
            )
        self._check_memory(record)
        for other, _ in others:
            self.unload(other)
        self._make_room(record)
        try:
            with kept_alive():
                backend = self._open(record)
        except WorkerError:
            raise
        except Exception as error:
            log.exception("model %s could not be loaded", record.id)
            why = f"The model could not be loaded ({type(error).__name__}). {WHAT_TO_DO}"
            raise WorkerError("load_failed", why) from error
        self._resident[key] = backend
        return backend

    def has_room(self, job: ChatJob) -> bool:
        """Whether the chat's model can be loaded now, by unloading idle ones if need be.

        True also when the load would fail for good: then loading is tried, and tells why.
        """
        record = self._find(job.model_id)
        if record is None or record.size * HEADROOM > self._budget:
            return True
        busy = {key: backend for key, backend in self._resident.items() if self._in_batch(backend)}
        if any(key.model_id == record.id for key in busy):
            return False
        return (
            sum(backend.weight_bytes for backend in busy.values()) + record.size * HEADROOM
            <= self._budget
        )

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
        malloc.give_back()

    def resident(self) -> list[tuple[ModelKey, Backend]]:
        """Loaded models, most recently used first."""
        return list(reversed(self._resident.items()))

    def backends(self) -> list[Backend]:
        return list(self._resident.values())

    def close(self) -> None:
        for key in list(self._resident):
            self.unload(key)

    def _in_batch(self, backend: Backend) -> bool:
        """Whether the model is running chats or prompts of batches."""
        second = self._batch_lanes.get(backend)
        return bool(backend.sequences()) or (second is not None and bool(second.sequences()))

    def _record(self, model_id: str) -> ModelRecord:
        record = self._find(model_id)
        if record is None:
            raise WorkerError("model_not_found", "The model is not registered any more.")
        return record

    def _check_memory(self, record: ModelRecord) -> None:
        needed = int(record.size * HEADROOM)
        free = self._available() + sum(
            b.weight_bytes for b in self._resident.values() if not self._in_batch(b)
        )
        limit = min(self._budget, free)
        if needed > limit:
            raise WorkerError(
                "insufficient_memory",
                f"The model needs {needed >> 20} MiB of memory; {limit >> 20} MiB can be had.",
            )

    def _make_room(self, record: ModelRecord) -> None:
        needed = record.size * HEADROOM
        for key, backend in list(self._resident.items()):
            held = sum(b.weight_bytes for b in self._resident.values())
            if held + needed <= self._budget:
                return
            if not self._in_batch(backend):
                self.unload(key)


def _key(record: ModelRecord) -> ModelKey:
    return ModelKey(record.id, record.revision, record.kv_quantization)
