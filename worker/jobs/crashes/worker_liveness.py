"""Which workers are dead: by liveness keys on Redis time, never by wall clocks of hosts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from redis import Redis
from rq.executions import Execution
from rq.worker.base import BaseWorker

from wire import keys

ABSENCE_S = 2.0
"""A worker is dead when its key has been missing for this long: after an outage of Redis all keys
have expired, and live workers need a moment to renew theirs."""
_LONGEST_GAP_S = 6.0
"""After a longer time without a look it is unknown how long a worker has been missing."""
_FOREIGN_S = 10.0
"""A plain RQ worker gives a job back within a second; one that holds it longer is dead."""


class WorkerLiveness:
    """What the worker ``name`` knows of the others; it counts as alive whatever Redis says.

    ``known_dead`` is true of a worker that is dead although its key still exists: an earlier
    process on this data folder, whose lock this process holds now.
    """

    def __init__(self, redis: Redis, name: str, known_dead: Callable[[str], bool]) -> None:
        self._redis = redis
        self.name = name
        self._known_dead = known_dead
        self._missing: dict[str, float] = {}
        self._foreign: dict[str, float] = {}
        self._looked = time.monotonic()

    def begin_round(self) -> None:
        """Forget absences that were seen too long ago to be continuous."""
        now = time.monotonic()
        if now - self._looked > _LONGEST_GAP_S:
            self.forget()
        self._looked = now

    def forget(self) -> None:
        """Forget since when workers have been missing: Redis itself was away."""
        self._missing.clear()

    def is_dead(self, worker: str) -> bool:
        if worker == self.name:
            return False
        if self._known_dead(worker):
            return True
        if self._has_status(worker):
            self._missing.pop(worker, None)
            return False
        now = time.monotonic()
        return now - self._missing.setdefault(worker, now) >= ABSENCE_S

    def is_foreign(self, worker: str) -> bool:
        """Whether only RQ knows the worker: a plain one, which runs none of our jobs."""
        if (
            self._known_dead(worker)
            or self._redis.sismember(keys.WORKERS, worker)
            or self._has_status(worker)
        ):
            return False
        return bool(self._redis.exists(f"{BaseWorker.redis_worker_namespace_prefix}{worker}"))

    def may_go_on(self, execution: Execution) -> bool:
        """Whether another worker may still be running an execution."""
        if not self.is_foreign(execution.worker_name):
            return not self.is_dead(execution.worker_name)
        now = time.monotonic()
        self._foreign = {
            name: seen for name, seen in self._foreign.items() if now - seen < 2 * _FOREIGN_S
        }
        return now - self._foreign.setdefault(execution.composite_key, now) < _FOREIGN_S

    def is_alone(self) -> bool:
        """Whether no other worker lives."""
        return all(self.is_dead(worker) for worker in self._workers() if worker != self.name)

    def remove_dead(self) -> None:
        """Take dead workers off the list of workers; one that was only frozen adds itself again."""
        for worker in self._workers():
            if self.is_dead(worker):
                self._redis.srem(keys.WORKERS, worker)
                self._missing.pop(worker, None)

    def _has_status(self, worker: str) -> bool:
        return bool(self._redis.exists(keys.worker_status(worker)))

    def _workers(self) -> list[str]:
        return [name.decode() for name in cast(set[bytes], self._redis.smembers(keys.WORKERS))]
