"""Looks up which running jobs are to stop, and tells the engine.

A thread of its own: one round trip for all jobs at a time, whatever the engine and the writer of
its events are doing. Asleep while no job runs.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from redis import Redis
from redis.backoff import ExponentialBackoff

from wire import keys
from worker.redis_retry import retry_until_answered

log = logging.getLogger(__name__)

LOOKUP_S = 0.02
"""Between two look-ups of the cancel keys: a stop is seen within this, plus a step."""
BACKOFF = ExponentialBackoff(base=0.05, cap=1.0)
"""Waits before the next look-up while Redis is away, seconds."""


class _Closed(Exception):
    """The worker ends."""


class CancelWatcher:
    """Calls ``cancel``, on its thread, for each watched job whose cancel key exists, until the job
    is unwatched: the first call may come before the engine has the job."""

    def __init__(self, redis: Redis, cancel: Callable[[str], None]) -> None:
        self._redis = redis
        self._cancel = cancel
        self._watched: set[str] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run_or_end, name="cancel-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def watch(self, job_id: str) -> None:
        with self._changed:
            self._watched.add(job_id)
            self._changed.notify_all()

    def unwatch(self, job_id: str) -> None:
        with self._changed:
            self._watched.discard(job_id)

    def close(self, patience_s: float) -> None:
        """End the thread; wait for it up to ``patience_s`` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(patience_s)

    def _run_or_end(self) -> None:
        try:
            self._run()
        except _Closed:
            return
        except Exception:
            # Without this thread no chat could be stopped; another process goes on with them.
            log.critical(
                "the cancel watcher failed: this process ends, another goes on", exc_info=True
            )
            os._exit(70)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._watched and not self._closing:
                    self._changed.wait()
            # The start of a job has just asked for its cancel key.
            self._pause(LOOKUP_S)
            # Logged by the event writer, which waits for Redis at the same time.
            retry_until_answered(self._look_up, BACKOFF, lambda _: None, self._pause)

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)
            if self._closing:
                raise _Closed

    def _look_up(self) -> None:
        with self._changed:
            jobs = list(self._watched)
        if not jobs:
            return
        names = [keys.cancel(job_id) for job_id in jobs]
        if not self._redis.exists(*names):  # One number in place of an answer for each job.
            return
        for job_id, value in zip(jobs, self._redis.mget(names), strict=True):
            if value is not None:
                self._cancel(job_id)
