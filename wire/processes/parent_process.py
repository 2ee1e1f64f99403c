"""A child process that ends when its parent does, however the parent ended.

The parent hands down the reading end of a pipe whose writing end it alone holds: when it is gone,
also by kill -9, the system closes the pipe and the child reads its end. No process id is looked at,
so none can be mistaken for another.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable

VARIABLE = "CHATQUEUE_PARENT_FD"
"""Names the pipe in the child's environment. No ``MLXQ_`` variable: it is no setting, and a user
never sets it."""


def _end_at_once() -> None:
    os._exit(1)


def exit_with_parent(gone: Callable[[], None] = _end_at_once) -> bool:
    """Call ``gone`` from a thread when the parent has ended; returns whether a parent asked for it.

    By default the process ends on the spot: a service that survives a kill -9 of one part survives
    this too, and the port and the Redis connections are free for the next start.
    """
    number = os.environ.pop(VARIABLE, "")
    if not number.isdecimal():
        return False
    descriptor = int(number)
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return False
    except OSError:
        return False
    os.set_inheritable(descriptor, False)
    threading.Thread(target=_wait, args=(descriptor, gone), name="lifeline", daemon=True).start()
    return True


def _wait(descriptor: int, gone: Callable[[], None]) -> None:
    os.read(descriptor, 1)
    gone()
