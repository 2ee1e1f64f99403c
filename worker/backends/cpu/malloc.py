"""How the C library's heap treats freed memory: it keeps some of it.

MLX on the CPU allocates memory for every result and frees it at once. By default the heap returns
megabytes to the system, which zeroes them again, page by page: half as much work as the arithmetic.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

KEPT_BYTES = 256 << 20
"""Freed memory at the end of the heap that is kept."""
LARGEST_BYTES = 64 << 20
"""Larger blocks come from the system and go back to it."""
# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """Keep freed memory in this process.

    Call it before there are threads; without glibc it does nothing.
    """
    if adjust := _function("mallopt"):
        # Heaps of threads are small, and go back to the system whatever the other numbers say.
        adjust(_ARENA_MAX, 1)
        adjust(_TRIM_THRESHOLD, KEPT_BYTES)
        adjust(_MMAP_THRESHOLD, LARGEST_BYTES)


def give_back() -> None:
    """Return all free memory to the system, after a model was unloaded."""
    if trim := _function("malloc_trim"):
        trim(0)


def _function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
