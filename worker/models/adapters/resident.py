"""Adapters on their way into a model in memory."""

from __future__ import annotations

from collections.abc import Iterator

from wire.model_registry import ModelRecord
from worker.backends.base import Adapters, Backend
from worker.errors import WorkerError


def read(backend: Backend, record: ModelRecord) -> Backend:
    """Read an adapter's files for its base, on any thread; returns the base. Raises WorkerError."""
    _adapters_of(backend, record).read(record)
    return backend


def attach(record: ModelRecord, backend: Backend) -> Iterator[None]:
    """Put it into its base, in pieces. Raises WorkerError."""
    return _adapters_of(backend, record).attach(record)


def _adapters_of(backend: Backend, record: ModelRecord) -> Adapters:
    if backend.adapters is None:
        raise WorkerError(
            "load_failed", f"The adapter {record.name} can't be used: its base takes none."
        )
    return backend.adapters
