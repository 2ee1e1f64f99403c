"""How the C library's heap treats freed memory: it keeps some of it.

MLX on the CPU asks for memory anew for every result and gives it back at once. By its own rules the
heap hands megabytes back to the system, which fills them with zeros again, page by page: half as
much work as the arithmetic.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

KEPT_BYTES = 256 << 20
"""Freed memory at the end of the heap that is kept."""
LARGEST_BYTES = 64 << 20
"""What is larger comes from the system and goes back to it."""
# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """For the whole process, from now on; to be called before there are threads. Nothing changes
    without glibc."""
    if adjust := _function("mallopt"):
        # Heaps of threads are small, and go back to the system whatever the other numbers say.
        adjust(_ARENA_MAX, 1)
        adjust(_TRIM_THRESHOLD, KEPT_BYTES)
        adjust(_MMAP_THRESHOLD, LARGEST_BYTES)


def give_back() -> None:
    """Let the system have everything that is free now: a model has gone."""
    if trim := _function("malloc_trim"):
        trim(0)


def _function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
