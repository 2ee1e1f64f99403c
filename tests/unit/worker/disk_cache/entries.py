"""Entries of plain numbers for the tests of the disk cache."""

from __future__ import annotations

import numpy as np

from worker.disk_cache.entry_file import ArraySpec, Head
from worker.disk_cache.store import Store
from worker.prompt_cache import encoded

MODEL = "f" * 64


def head_of(
    tokens: list[int],
    arrays: int = 2,
    *,
    fingerprint: str = MODEL,
    places: tuple[int, ...] | None = None,
    created: float = 1000.0,
) -> Head:
    """An entry with arrays of a type that numpy lacks, and of bytes."""
    specs = [ArraySpec("BF16", (1, 2, len(tokens), 4)), ArraySpec("U8", (3,))] * arrays
    return Head(
        fingerprint, encoded(tokens), places, created, {"of": "a test"}, tuple(specs[:arrays])
    )


def pieces_of(head: Head, seed: int = 0) -> list[bytes]:
    """The bytes of its arrays."""
    random = np.random.default_rng(seed)
    sizes = sorted((spec.nbytes for spec in head.arrays), reverse=True)
    return [random.integers(0, 256, size, np.uint8).tobytes() for size in sizes]


def put(store: Store, head: Head, seed: int = 0) -> list[bytes]:
    """Write an entry; returns the bytes of its arrays."""
    pieces = pieces_of(head, seed)
    store.write(head, pieces, lambda: True)
    return pieces
