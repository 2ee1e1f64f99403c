"""RQ's queue as a worker pops it: not the first job of the list, but the one whose turn it is."""

from __future__ import annotations

from typing import Any

from redis import Redis
from rq import Queue

from wire import keys
from wire.queueing import turns
from wire.rq_jobs import popped_key


class TurnQueue(Queue):
    """Where RQ would move the first job, this moves the next one; an empty queue is waited for."""

    @classmethod
    def lmove(cls, connection: Redis, queue_key: str, timeout: int | None) -> Any:
        name = queue_key.removeprefix(cls.redis_queue_namespace_prefix)
        names = turns.take_keys(name, queue_key, popped_key(name))
        taken = connection.register_script(turns.TAKE)(keys=names, args=[keys.job("")])
        if taken is not None:
            return queue_key, taken
        return super().lmove(connection, queue_key, timeout)
