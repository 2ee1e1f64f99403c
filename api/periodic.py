"""Work that is repeated for as long as the process runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

_log = logging.getLogger(__name__)


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
