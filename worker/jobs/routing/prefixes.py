"""Which prompts a worker holds, as hashes of blocks of tokens. Pure: knows no Redis.

Each hash is of a block and of all that are before it, as in vLLM's prefix caching: whoever has it
has the whole prompt up to there.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wire.routing.told import BLOCK
from worker.prompt_cache import WIDTH

MOST_HASHES = 32_768
"""That a worker tells of: a million tokens, some 2 MB of Redis."""
_HASH_BYTES = 8
_BLOCK_BYTES = BLOCK * WIDTH


class Model(NamedTuple):
    """What a prompt's cache belongs to, on any machine."""

    id: str
    revision: str


class Changes(NamedTuple):
    """Hashes that have come, and those that have gone, since the last time."""

    come: list[bytes]
    gone: list[bytes]


def block_hashes(model: Model, row: bytes) -> list[bytes]:
    """The hashes of an encoded row of tokens; what is after the last whole block has none."""
    before = hashlib.blake2b(repr(tuple(model)).encode(), digest_size=_HASH_BYTES).digest()
    hashes = []
    for end in range(_BLOCK_BYTES, len(row) + 1, _BLOCK_BYTES):
        block = before + row[end - _BLOCK_BYTES : end]
        before = hashlib.blake2b(block, digest_size=_HASH_BYTES).digest()
        hashes.append(before)
    return hashes


def held(hashes: Sequence[bytes], there: Iterable[object]) -> int:
    """How many tokens of a prompt a worker holds, by which of the hashes it has."""
    blocks = 0
    for _, has in zip(hashes, there, strict=True):
        if not has:
            break
        blocks += 1
    return blocks * BLOCK


_Row = tuple[Model, bytes]


class Prefixes:
    """The hashes of the prompts in a cache. Those of the rows that came first go where there would
    be more than ``most``."""

    def __init__(self, most: int = MOST_HASHES) -> None:
        self._most = most
        self._new: dict[_Row, None] = {}
        """Rows that have not been hashed."""
        self._rows: OrderedDict[_Row, list[bytes]] = OrderedDict()
        self._counts: dict[bytes, int] = {}
        self._changed: dict[bytes, bool] = {}
        """Hash -> whether it was there at the last look."""

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._counts

    def add(self, model: Model, row: bytes) -> None:
        self._new[model, row] = None

    def drop(self, model: Model, row: bytes) -> None:
        self._new.pop((model, row), None)
        self._release(self._rows.pop((model, row), []))

    def update(self) -> None:
        """Hash the rows that have come."""
        new, self._new = self._new, {}
        for model, row in new:
            hashes = block_hashes(model, row)[: self._most]
            self._rows[model, row] = hashes
            for digest in hashes:
                self._changed.setdefault(digest, digest in self._counts)
                self._counts[digest] = self._counts.get(digest, 0) + 1
            while len(self._counts) > self._most:
                self._release(self._rows.popitem(last=False)[1])

    def changes(self) -> Changes:
        """What has changed since the last call."""
        changed, self._changed = self._changed, {}
        come = [one for one, was in changed.items() if not was and one in self._counts]
        gone = [one for one, was in changed.items() if was and one not in self._counts]
        return Changes(come, gone)

    def all(self) -> list[bytes]:
        return list(self._counts)

    def _release(self, hashes: Sequence[bytes]) -> None:
        for digest in hashes:
            self._changed.setdefault(digest, True)
            if self._counts[digest] > 1:
                self._counts[digest] -= 1
            else:
                del self._counts[digest]
