"""Settings of glibc's malloc: keep freed memory in the heap, until a model is unloaded.

MLX on the CPU allocates memory for every result and frees it at once. By default malloc returns
megabytes to the system, which zeroes them again, page by page: half as much work as the
arithmetic.
"""

from __future__ import annotations

import gc
import sys

from wire.processes import malloc

KEPT_BYTES = 256 << 20
"""Freed memory at the end of the heap that is kept (``M_TRIM_THRESHOLD``)."""
LARGEST_BYTES = 64 << 20
"""Larger blocks come from the system and go back to it (``M_MMAP_THRESHOLD``)."""


def keep_freed_memory() -> None:
    """Apply the settings to the process; to be called before it has threads. Does nothing without
    glibc."""
    # Threads' own heaps are small, and return memory regardless of the other settings.
    malloc.adjust(malloc.ARENA_MAX, 1)
    malloc.adjust(malloc.TRIM_THRESHOLD, KEPT_BYTES)
    malloc.adjust(malloc.MMAP_THRESHOLD, LARGEST_BYTES)


def give_back() -> None:
    """Return all free memory to the system, after a model was unloaded and nothing refers to it."""
    gc.collect()  # The parts of a model refer to each other.
    if (mx := sys.modules.get("mlx.core")) is not None:  # The echo backend imports none.
        mx.clear_cache()
    malloc.trim()
