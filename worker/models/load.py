"""A model on its way into memory: opened on a thread of its own, so that others' streams go on,
then tried out on the engine's thread, in pieces between their steps."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

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
Post = Callable[[Callable[[], None]], None]
Work = tuple[Callable[[], Backend], Future[Backend]]


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
    """A model, or an adapter of one that is there. ``reserved``: bytes of memory that are kept for
    it. ``start`` ends the load in pieces once it has been opened, and ``keep`` gets the model then;
    ``is_adapter``: the model was there before. ``done`` ends on the engine's thread."""

    def __init__(
        self,
        reserved: float,
        start: Callable[[Backend], Iterator[None]],
        keep: Callable[[Backend], None],
        *,
        is_adapter: bool = False,
    ) -> None:
        self.reserved = reserved
        self.done: Future[Backend] = Future()
        self.keep = keep
        self._start, self._is_adapter = start, is_adapter
        self._backend: Backend | None = None
        self._pieces: Iterator[None] = iter(())

    @property
    def is_open(self) -> bool:
        """Whether there are pieces to be run."""
        return self._backend is not None

    def opened(self, backend: Backend) -> None:
        self._backend, self._pieces = backend, self._start(backend)

    def run_pieces(self) -> Backend | None:
        """Run some pieces; returns the model after the last. Raises WorkerError."""
        until = time.monotonic() + PIECES_S
        for _ in self._pieces:
            if time.monotonic() >= until:
                return None
        return self._backend

    def close(self) -> None:
        """Free the model, wherever its start has come to."""
        if self._backend is not None and not self._is_adapter:
            self._backend.close()


class LoadThread:
    """Opens models, one after another; starts with the first load.

    A daemon, unlike those of an executor: a stopping process does not wait for a load.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], Backend]) -> Future[Backend]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="model-loads", daemon=True)
            self._thread.start()
        future: Future[Backend] = Future()
        self._work.put((work, future))
        return future

    def close(self) -> None:
        """End the thread after the load in progress; does not wait for it."""
        self._work.put(None)

    def _run(self) -> None:
        while self._open_next():
            pass

    def _open_next(self) -> bool:
        """Whether to go on. A call of its own: nothing here may hold a model while it waits."""
        if (next_one := self._work.get()) is None:
            return False
        work, future = next_one
        try:
            future.set_result(work())
        except BaseException as error:  # It is the caller's: this thread serves the next load.
            future.set_exception(error)
        return True


class Loads:
    """The models and adapters on their way into memory. On the engine's thread, but ``keys``."""

    def __init__(self) -> None:
        self._loads: dict[Any, Load] = {}
        self._thread = LoadThread()

    def get(self, key: Any) -> Load | None:
        return self._loads.get(key)

    @property
    def keys(self) -> list[Any]:
        return list(self._loads)

    @property
    def reserved(self) -> float:
        return sum(load.reserved for load in self._loads.values())

    def begin(
        self, key: Any, load: Load, open_it: Callable[[], Backend], post: Post
    ) -> Future[Backend]:
        """Open it on the loads' thread; ``post`` brings work back to this one."""
        self._loads[key] = load
        opening = self._thread.submit(open_it)
        opening.add_done_callback(lambda ended: post(partial(self._begin_start, key, ended)))
        return load.done

    def _begin_start(self, key: Any, opening: Future[Backend]) -> None:
        if (error := opening.exception()) is not None:
            self._loads.pop(key).done.set_exception(error)
            return
        self._loads[key].opened(opening.result())

    @property
    def starting(self) -> bool:
        """Whether one is open and has to be tried out."""
        return any(load.is_open for load in self._loads.values())

    def start_some(self) -> None:
        """Go on with trying one out, for some hundredths of a second or one layer."""
        key, load = next((key, load) for key, load in self._loads.items() if load.is_open)
        try:
            backend = load.run_pieces()
        except WorkerError as error:
            refused = _without_frames(error)
        else:
            if backend is not None:
                del self._loads[key]
                load.keep(backend)
                load.done.set_result(backend)
            return
        done = self._loads.pop(key).done
        del load
        malloc.give_back()
        done.set_exception(refused)

    def close(self) -> None:
        self._thread.close()
        for load in self._loads.values():
            load.close()


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


def opened(open_backend: Open, record: ModelRecord) -> Backend:
    """The model, opened on the thread that calls this. Raises WorkerError; what was read of it is
    freed then."""
    try:
        with kept_alive():
            return open_backend(record)
    except WorkerError as error:
        refused = _without_frames(error)
    except Exception as error:
        log.exception("model %s could not be loaded", record.id)
        refused = _failed("loaded", error)
    malloc.give_back()
    raise refused


def started(backend: Backend) -> Iterator[None]:
    """The pieces of trying a model out, on the engine's thread. Raises WorkerError; the model is
    closed then."""
    try:
        yield from backend.start()
    except Exception as error:
        backend.close()
        if isinstance(error, WorkerError):
            raise
        log.exception("a model that was loaded could not be started")
        raise _failed("run", error) from error


def _failed(done: str, error: Exception) -> WorkerError:
    why = f"The model could not be {done} ({type(error).__name__}). {WHAT_TO_DO}"
    return WorkerError("load_failed", why)


def _without_frames(error: WorkerError) -> WorkerError:
    """The same error, without a traceback: its frames hold the model that failed, which would stay
    in memory for as long as the error is known."""
    return WorkerError(error.code, error.message, param=error.param)
