"""RQ's queue as a worker pops it: not the first job of the list, but the one whose turn it is."""

from __future__ import annotations

import time
from typing import Any

from redis import Redis
from rq import Queue
from rq.exceptions import DequeueTimeout

from wire import keys
from wire.queueing import turns
from wire.rq_jobs import popped_key

LIMITED_POLL_S = 0.02
"""How often a free slot looks for a chat that may start, while some key has a limit."""


class TurnQueue(Queue):
    """Where RQ would move the first job, this moves the next one; an empty queue is waited for."""

    @classmethod
    def lmove(cls, connection: Redis, queue_key: str, timeout: int | None) -> Any:
        name = queue_key.removeprefix(cls.redis_queue_namespace_prefix)
        names = turns.take_keys(name, queue_key, popped_key(name))
        taken = connection.register_script(turns.TAKE)(
            keys=names, args=[keys.job(""), keys.live("")]
        )
        if taken:
            return queue_key, taken
        if taken is None:
            return super().lmove(connection, queue_key, timeout)
        if timeout is None:
            return None
        time.sleep(LIMITED_POLL_S)
        raise DequeueTimeout(timeout, queue_key)
