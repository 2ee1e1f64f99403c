"""The thread that opens models, one after another.

A daemon, unlike those of an executor: a stopping process does not wait for a load.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from worker.backends.base import Backend

Work = tuple[Callable[[], Backend], Future[Backend]]


class LoadThread:
    """Starts with the first load."""

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
