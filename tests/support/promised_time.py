"""Promises of time, on machines that may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable

TRIES = 3


def within(limit_s: float, attempt: Callable[[], object]) -> bool:
    """Whether one of three attempts takes less than so many seconds. Other work on the machine
    makes an attempt slower, never faster; what an attempt asserts holds each time."""
    for _ in range(TRIES):
        began = time.monotonic()
        attempt()
        if time.monotonic() - began < limit_s:
            return True
    return False
