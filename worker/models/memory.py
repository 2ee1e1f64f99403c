"""The models and adapters in memory: which are used, which may make room for others, within a
budget.

Runs on the engine's thread. Knows model records and backends; loads nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from wire.model_registry import ModelRecord
from worker.backends.base import Backend
from worker.backends.cpu import malloc
from worker.errors import WorkerError
from worker.models.load import Loads

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


def key_of(record: ModelRecord) -> ModelKey:
    return ModelKey(record.id, record.revision, record.kv_quantization, record.draft_model)


def adapter_bytes(backend: Backend) -> Mapping[str, int]:
    """Bytes in memory of each adapter of a model, by their ids."""
    return {} if backend.adapters is None else backend.adapters.nbytes


class ModelMemory:
    """Resident models and their adapters, most recently used last.

    ``budget`` is in bytes of weights; ``available`` reads how many bytes are free on this machine.
    ``pinned`` are the ids of models and adapters that are not unloaded to make room, ``ttls`` the
    seconds that others may be idle; any thread may replace them. ``expiries``: seconds until idle
    models are unloaded, by their ids.
    """

    def __init__(self, budget: int, available: Callable[[], int]) -> None:
        self.pinned: frozenset[str] = frozenset()
        self.ttls: dict[str, float] = {}
        self.expiries: dict[str, float] = {}
        self._budget = budget
        self._available = available
        self._resident: Mapping[ModelKey, Backend] = {}
        """Read by other threads: replaced as a whole, never changed."""
        self._adapters: OrderedDict[str, Backend] = OrderedDict()
        """By their ids, with their bases."""
        self._batch_lanes: dict[Backend, Backend] = {}
        self._claims: dict[str, tuple[Backend, str]] = {}
        self._loads = Loads()

    def claim(self, job_id: str, backend: Backend, model_id: str) -> None:
        """Keep a model, or an adapter with its base, for a chat that is about to join its batch: no
        other takes its memory."""
        self._claims[job_id] = backend, model_id

    def unclaim(self, job_id: str) -> None:
        self._claims.pop(job_id, None)

    def batch_lane(self, backend: Backend) -> Backend:
        """The second batch of a loaded model, for prompts of batches; it goes with the model."""
        if backend not in self._batch_lanes:
            self._batch_lanes[backend] = backend.batch_lane()
        return self._batch_lanes[backend]

    def unload(self, key: ModelKey) -> list[str]:
        """Unload a model with its adapters; returns the ids of all these."""
        backend = self._resident[key]
        self._resident = {k: b for k, b in self._resident.items() if k != key}
        if (second := self._batch_lanes.pop(backend, None)) is not None:
            second.close()
        gone = [adapter for adapter, base in self._adapters.items() if base is backend]
        for adapter in gone:
            del self._adapters[adapter]
        backend.close()
        del backend, second
        malloc.give_back()
        return [key.model_id, *gone]

    def unload_adapter(self, adapter_id: str) -> bool:
        """Unload an adapter; whether it was loaded. Raises WorkerError while it is in use."""
        base = self._adapters.get(adapter_id)
        if base is None:
            return False
        if self._runs(base, adapter_id):
            raise WorkerError(
                "load_conflict", "The adapter is in use; it can be unloaded once its chats end."
            )
        self._drop_adapter(adapter_id)
        return True

    def _drop_adapter(self, adapter_id: str) -> None:
        base = self._adapters.pop(adapter_id)
        assert base.adapters is not None, "it has this one"
        base.adapters.detach(adapter_id)

    def resident(self) -> list[tuple[ModelKey, Backend]]:
        """Loaded models, most recently used first. From any thread."""
        return list(self._resident.items())[::-1]

    def _use(self, key: ModelKey, backend: Backend) -> None:
        """Keep a model as the one that was used last."""
        others = {k: b for k, b in self._resident.items() if k != key}
        self._resident = {**others, key: backend}

    def is_pinned(self, key: ModelKey) -> bool:
        """Whether a loaded model, or an adapter in it, is pinned."""
        return bool(self._ids(key, self._resident[key]) & self.pinned)

    def backends(self) -> list[Backend]:
        return list(self._resident.values())

    # --- what may go ------------------------------------------------------------------------------

    def _in_use(self, backend: Backend) -> bool:
        """Whether the model is running chats or prompts of batches, or about to."""
        second = self._batch_lanes.get(backend)
        claimed = any(claimed is backend for claimed, _ in self._claims.values())
        return (
            claimed
            or bool(backend.sequences())
            or (second is not None and bool(second.sequences()))
        )

    def is_used(self, key: ModelKey) -> bool:
        """The same of a model by its key; it is in memory."""
        return self._in_use(self._resident[key])

    def _runs(self, backend: Backend, adapter_id: str) -> bool:
        """The same of an adapter."""
        lanes = [backend, *(two for one, two in self._batch_lanes.items() if one is backend)]
        running = (sequence.job.model_id for lane in lanes for sequence in lane.sequences())
        claimed = (model_id for _, model_id in self._claims.values())
        return adapter_id in (*running, *claimed)

    def _stays(self, key: ModelKey, backend: Backend, record: ModelRecord) -> bool:
        """Whether a model makes no room for another, though nothing runs on it: it is pinned, or
        one of its adapters is, or the other is an adapter of it."""
        if key.model_id == record.id:
            return False  # It is loaded otherwise.
        pinned = self._ids(key, backend) & (self.pinned - {record.id})
        return key.model_id == record.base_id or bool(pinned)

    def _ids(self, key: ModelKey, backend: Backend) -> set[str]:
        """A model's id and those of its adapters in memory."""
        return {key.model_id, *(one for one, base in self._adapters.items() if base is backend)}

    def _can_go(self, key: ModelKey, backend: Backend, record: ModelRecord) -> bool:
        """Whether a model in memory may make room for another, or for itself loaded otherwise."""
        return not self._stays(key, backend, record) and not self._in_use(backend)

    def _idle_adapters(self) -> list[str]:
        """Those that may make room, least recently used first."""
        return [
            adapter
            for adapter, base in self._adapters.items()
            if adapter not in self.pinned and not self._runs(base, adapter)
        ]

    def _least_bytes(self, backend: Backend) -> int:
        """Bytes of a model without the adapters that may make room."""
        of_adapters = adapter_bytes(backend)
        idle = [one for one in self._idle_adapters() if self._adapters[one] is backend]
        return backend.weight_bytes - sum(of_adapters.get(one, 0) for one in idle)

    # --- memory -----------------------------------------------------------------------------------

    def _staying_bytes(self, record: ModelRecord) -> int:
        """Bytes of models that make no room, used or not."""
        resident = self._resident.items()
        return sum(self._least_bytes(b) for k, b in resident if self._stays(k, b, record))

    def _free(self, record: ModelRecord) -> float:
        """Bytes of this machine that a load may take: free, or held by models that can go."""
        idle = (
            b.weight_bytes - (0 if self._can_go(k, b, record) else self._least_bytes(b))
            for k, b in self._resident.items()
        )
        return self._available() + sum(idle) - self._loads.reserved

    def _fits(self, record: ModelRecord) -> bool:
        """Whether a model that isn't in memory can be loaded now, by unloading idle ones if need
        be. True also when the load would fail for good."""
        needed = record.loaded_size * HEADROOM
        if needed > self._budget - self._staying_bytes(record):
            return True
        kept = {k: b for k, b in self._resident.items() if not self._can_go(k, b, record)}
        if any(key.model_id == record.id for key in (*kept, *self._loads.keys)):
            return False
        held = sum(map(self._least_bytes, kept.values())) + self._loads.reserved
        # What a load has not taken yet still counts as free on this machine.
        return held + needed <= self._budget and (
            not self._loads.keys or needed <= self._free(record)
        )

    def _check_memory(self, record: ModelRecord) -> None:
        needed = int(record.loaded_size * HEADROOM)
        staying = self._staying_bytes(record)
        limit = max(0, int(min(self._budget - staying, self._free(record))))
        if needed > limit:
            others = "its base" if record.base_id else "the pinned models"
            raise WorkerError(
                "insufficient_memory",
                f"The {'adapter' if record.base_id else 'model'} needs {needed >> 20} MiB of "
                f"memory; {limit >> 20} MiB can be had{f' beside {others}' if staying else ''}.",
            )

    def _make_room(self, record: ModelRecord) -> None:
        """Unload idle adapters, then idle models, until one more fits."""
        needed = record.loaded_size * HEADROOM
        for adapter in self._idle_adapters():
            if not self._is_full(needed):
                return
            self._drop_adapter(adapter)
        for key in list(self._resident):
            if not self._is_full(needed):
                return
            if self._can_go(key, self._resident[key], record):
                self.unload(key)

    def _is_full(self, needed: float) -> bool:
        held = sum(b.weight_bytes for b in self._resident.values()) + self._loads.reserved
        return held + needed > self._budget
