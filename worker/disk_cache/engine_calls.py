"""Work of this package's threads that must run on the engine's thread, between two steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TypeVar

Result = TypeVar("Result")
Post = Callable[[Callable[[], None]], None]
"""Has something run on the engine's thread."""


class Closed(Exception):
    """The worker ends: the engine does nothing more."""


class EngineCalls:
    """``call`` is for any thread but the engine's."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: set[Future[object]] = set()

    def call(self, work: Callable[[], Result]) -> Result:
        """The result of something that is run on the engine's thread. Raises what it raises, and
        Closed."""
        done: Future[Result] = Future()

        def run() -> None:
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(work())
                except Exception as error:
                    done.set_exception(error)

        with self._lock:
            if self._closed:
                raise Closed
            self._waiting.add(done)  # type: ignore[arg-type]
        try:
            self._post(run)
            return done.result()
        except CancelledError:
            raise Closed from None
        finally:
            with self._lock:
                self._waiting.discard(done)

    def close(self) -> None:
        """What the engine hasn't begun yet is not waited for any more."""
        with self._lock:
            self._closed = True
            waiting = list(self._waiting)
        for done in waiting:
            done.cancel()
