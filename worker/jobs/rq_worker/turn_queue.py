"""RQ's queue as a worker pops it: not the first job of the list, but the one whose turn it is."""

from __future__ import annotations

from typing import Any

from redis import Redis
from rq import Queue
from rq.exceptions import DequeueTimeout

from wire.queueing import may_start
from wire.queueing.take import TAKE, TAKE_ARGUMENTS, take_keys
from wire.rq_jobs import popped_key


class TurnQueue(Queue):
    """Where RQ would move the first job, this moves the next one; if there is none, it waits until
    there may be one."""

    @classmethod
    def lmove(cls, connection: Redis, queue_key: str, timeout: int | None) -> Any:
        name = queue_key.removeprefix(cls.redis_queue_namespace_prefix)
        names = take_keys(name, queue_key, popped_key(name))
        taken = connection.register_script(TAKE)(keys=names, args=TAKE_ARGUMENTS)
        if taken is None:
            return super().lmove(connection, queue_key, timeout)
        if not isinstance(taken, list):
            return queue_key, taken
        if timeout is None:
            return None
        may_start.wait(connection, taken[0], timeout)
        raise DequeueTimeout(timeout, queue_key)
