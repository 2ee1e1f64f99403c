"""How a worker pops RQ's queue: not the first job of the list, but the one whose turn it is."""

from __future__ import annotations

from collections.abc import Collection

from rq import Queue
from rq.exceptions import DequeueTimeout

from wire.queueing import may_start
from wire.queueing.take import TAKE, TAKE_ARGUMENTS, take_keys


def take(queue: Queue, timeout: int | None, passed_over: Collection[str] = ()) -> str | None:
    """Move the next job to the popped ones, as RQ's own pop does with the first, and return its id.

    ``passed_over`` are owners whose jobs stay where they are. If there is none, this waits for
    ``timeout`` whole seconds until there may be one, and raises DequeueTimeout; without a time it
    returns None.
    """
    names = take_keys(queue.name, queue.key, queue.intermediate_queue_key)
    script = queue.connection.register_script(TAKE)
    taken = script(keys=names, args=[*TAKE_ARGUMENTS, *passed_over])
    if isinstance(taken, bytes):
        return taken.decode()
    if timeout is None:
        return None
    if taken is None:
        moved: tuple[str, bytes] = Queue.lmove(queue.connection, queue.key, timeout)
        return moved[1].decode()
    may_start.wait(queue.connection, taken[0], timeout)
    raise DequeueTimeout(timeout, queue.key)
