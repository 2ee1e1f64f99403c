"""Adapters on their way into a model in memory, and futures of loads that follow another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future

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


def ended(backend: Backend) -> Future[Backend]:
    """A load that has ended."""
    future: Future[Backend] = Future()
    future.set_result(backend)
    return future


def then(first: Future[Backend], load_next: Callable[[], Future[Backend]]) -> Future[Backend]:
    """The second of two loads, which begins when the first has ended well."""
    done: Future[Backend] = Future()

    def settle(second: Future[Backend]) -> None:
        if (error := second.exception()) is not None:
            done.set_exception(error)
        else:
            done.set_result(second.result())

    def go_on(first: Future[Backend]) -> None:
        if first.exception() is not None:
            settle(first)
            return
        try:
            load_next().add_done_callback(settle)
        except WorkerError as refused:
            done.set_exception(refused)

    first.add_done_callback(go_on)
    return done
