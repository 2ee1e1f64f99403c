"""glibc's malloc: what it keeps of freed memory. Elsewhere nothing here does anything.

Settings hold for the whole process.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

# From glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
_FIRST_MMAP_THRESHOLD = 128 << 10


def adjust(option: int, value: int) -> None:
    """Change a setting (``mallopt``); to be called before the process has threads."""
    if change := _function("mallopt"):
        change(option, value)


def return_large_blocks() -> None:
    """Have each large block that is freed returned to the system.

    By default malloc raises its threshold to the largest block freed so far. After the first
    image of 20 MB it takes such blocks from its heaps, and one small block behind them keeps them.
    A threshold that is set stays.
    """
    adjust(MMAP_THRESHOLD, _FIRST_MMAP_THRESHOLD)


def trim() -> None:
    """Return all free memory to the system (``malloc_trim``)."""
    if give_back := _function("malloc_trim"):
        give_back(0)


def _function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
