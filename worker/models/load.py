"""A model on its way into memory: opened on a thread of its own, so that others' streams go on,
then tried out on the engine's thread, in pieces between their steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from wire.model_registry import ModelRecord
from worker.backends.base import Backend
from worker.backends.cpu import malloc
from worker.errors import WorkerError, kept_alive

log = logging.getLogger(__name__)

WHAT_TO_DO = (
    "The worker's log says more, and `mlxq doctor` looks for what is wrong with the machine."
)
PIECES_S = 0.03
"""For how long streams wait for pieces in one go. A single piece may take longer."""
Open = Callable[[ModelRecord], Backend]


class LoadProgress:
    """How much of each model's weights is in memory, 0 to 1, while it is opened. Written by the
    threads that order and open models, read by any."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}

    def report(self, model_id: str, share: float) -> None:
        self._shares[model_id] = share

    def of(self, model_id: str) -> float:
        return self._shares.get(model_id, 0.0)


class Load:
    """``reserved``: bytes of memory that are kept for the model. ``done`` ends on the engine's
    thread."""

    def __init__(self, reserved: float) -> None:
        self.reserved = reserved
        self.done: Future[Backend] = Future()
        self._backend: Backend | None = None
        self._pieces: Iterator[None] = iter(())

    @property
    def is_open(self) -> bool:
        """Whether there are pieces to be run."""
        return self._backend is not None

    def opened(self, backend: Backend) -> None:
        self._backend, self._pieces = backend, _started(backend)

    def run_pieces(self) -> Backend | None:
        """Run some pieces; returns the model after the last. Raises WorkerError."""
        until = time.monotonic() + PIECES_S
        for _ in self._pieces:
            if time.monotonic() >= until:
                return None
        return self._backend

    def close(self) -> None:
        """Free the model, wherever its start has come to."""
        if self._backend is not None:
            self._backend.close()


def opened(open_backend: Open, record: ModelRecord) -> Backend:
    """The model, opened on the thread that calls this. Raises WorkerError."""
    try:
        with kept_alive():
            return open_backend(record)
    except WorkerError:
        raise
    except Exception as error:
        log.exception("model %s could not be loaded", record.id)
        why = f"The model could not be loaded ({type(error).__name__}). {WHAT_TO_DO}"
        raise WorkerError("load_failed", why) from error


def _started(backend: Backend) -> Iterator[None]:
    """The pieces of trying a model out, on the engine's thread. Raises WorkerError; the model is
    closed then."""
    try:
        yield from backend.start()
    except Exception as error:
        backend.close()
        malloc.give_back()
        if isinstance(error, WorkerError):
            raise
        log.exception("a model that was loaded could not be started")
        why = f"The model could not be run ({type(error).__name__}). {WHAT_TO_DO}"
        raise WorkerError("load_failed", why) from error
