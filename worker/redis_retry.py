"""Redis calls that are repeated until Redis answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

Result = TypeVar("Result")

_MOST_DOUBLINGS = 32
"""More would overflow, in redis-py's own arithmetic; every backoff is at its longest by then."""


def retry_until_answered(
    call: Callable[[], Result],
    backoff: ExponentialBackoff,
    on_outage: Callable[[RedisError], None],
    wait: Callable[[float], object] = time.sleep,
) -> Result:
    """Return what ``call`` returns, repeating it while it raises RedisError.

    ``on_outage`` logs each failure; it, or ``wait``, may raise to give up.
    """
    failures = 0
    while True:
        try:
            return call()
        except RedisError as error:
            on_outage(error)
        wait(backoff.compute(min(failures, _MOST_DOUBLINGS)))
        failures += 1
