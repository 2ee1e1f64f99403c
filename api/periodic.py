"""Work that goes on for as long as the process runs, and its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

_log = logging.getLogger(__name__)

_ENDS_S, _AGAIN_S = 5.0, 1.0  # Again: longer than what a task has to do as it ends.


async def repeat(interval_s: float, step: Callable[[], Awaitable[None]], what: str) -> None:
    """Run a step, pause, run it again, until cancelled. ``what`` names it in the log.

    A step that fails is run again after the pause. Without Redis none can succeed, so that isn't
    logged.
    """
    while True:
        try:
            await step()
        except RedisError:
            pass
        except Exception:
            _log.exception("%s failed", what)
        await asyncio.sleep(interval_s)


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks, and wait until they have ended, for up to five seconds.

    Cancelled again and again: a task that is cancelled as what it waits for arrives may take that
    for the answer, and go on. ``asyncio.wait_for`` does so before Python 3.12.
    """
    going_on, deadline = set(tasks), time.monotonic() + _ENDS_S
    while going_on and time.monotonic() < deadline:
        for task in going_on:
            task.cancel()
        _, going_on = await asyncio.wait(going_on, timeout=_AGAIN_S)
