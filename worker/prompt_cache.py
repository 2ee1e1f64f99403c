"""Key-value caches of finished chats, found again by their longest common token prefix.

mlx_lm has an LRUPromptCache of the same idea; its look-up walks the whole tree below the common
prefix, which is every entry once chats share a system prompt, so this index compares whole rows
instead. Knows no model: caches are opaque lists, copied and trimmed by the functions it is given.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_ENTRIES = 512
"""Bounds the look-up, which goes through every entry of the model: about a tenth of a
millisecond at this many."""
LEAST_COMMON = 16
"""Tokens that a chat must have in common with another to begin behind them. Chats of one model
all begin with the same few marks of its template: reading these again costs less than putting
together rows that begin with a cache."""
Cache = list[Any]


_WIDTH = 8
"""Bytes of a token id in a row: rows are compared as bytes, which is a hundred times faster than
token by token."""


@dataclass(frozen=True, slots=True)
class _Entry:
    row: bytes
    cache: Cache
    nbytes: int

    @property
    def length(self) -> int:
        return len(self.row) // _WIDTH


class PromptCache:
    """Least recently used entries go first, beyond ``budget`` bytes.

    ``trimmed(cache, n)`` answers a copy without its last ``n`` tokens, which the caller may change,
    or None if this kind of cache can't be cut; with ``n`` 0 it is a plain copy and never None. Of
    an entry that is no prefix as a whole at least ``least_common`` tokens must be.
    """

    def __init__(
        self,
        budget: int,
        trimmed: Callable[[Cache, int], Cache | None],
        least_common: int = LEAST_COMMON,
    ) -> None:
        self._budget = budget
        self._least_common = least_common
        self._trimmed = trimmed
        self._entries: OrderedDict[tuple[Any, bytes], _Entry] = OrderedDict()
        self.nbytes = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0

    def __len__(self) -> int:
        return len(self._entries)

    def fetch(self, model: Any, tokens: Sequence[int]) -> tuple[Cache | None, int]:
        """A cache for the longest known prefix of ``tokens``, and that prefix's length.

        At least one token is always left to feed: without it there would be nothing to get logits
        from.
        """
        self.prompt_tokens += len(tokens)
        row, most = _row(tokens), len(tokens) - 1
        best: tuple[Any, bytes] | None = None
        longest = 0
        for name, entry in self._entries.items():
            # Most entries differ before one token more than the best so far, which is seen at once.
            needed = (longest + 1) * _WIDTH
            if longest < most and name[0] == model and entry.row[:needed] == row[:needed]:
                best, longest = name, min(_common(row, entry.row), most)
        if best is not None and longest < min(self._least_common, self._entries[best].length, most):
            best, longest = self._whole_prefix(model, row)
        while best is not None:
            entry = self._entries[best]
            cache = self._trimmed(entry.cache, entry.length - longest)
            if cache is not None:
                self._entries.move_to_end(best)
                self.cached_tokens += longest
                return cache, longest
            best, longest = self._whole_prefix(model, row)
        return None, 0

    def insert(self, model: Any, tokens: Sequence[int], cache: Cache) -> None:
        """Keep a finished chat's cache, which holds exactly ``tokens``.

        Shorter forms of the same chat go.
        """
        nbytes = sum(layer.nbytes for layer in cache)
        if nbytes > self._budget or not tokens:
            return
        row = _row(tokens)
        name = (model, row)
        if self._trimmed(cache, 1) is not None:
            for other in [
                other for other in self._entries if other[0] == model and row.startswith(other[1])
            ]:
                self._drop(other)
        if name in self._entries:
            self._drop(name)
        self._entries[name] = _Entry(row, cache, nbytes)
        self.nbytes += nbytes
        while self.nbytes > self._budget or len(self._entries) > MOST_ENTRIES:
            self._drop(next(iter(self._entries)))

    def forget(self, model: Any) -> None:
        """Drop every entry of a model that has been unloaded."""
        for name in [name for name in self._entries if name[0] == model]:
            self._drop(name)

    def _whole_prefix(self, model: Any, row: bytes) -> tuple[tuple[Any, bytes] | None, int]:
        """The longest entry that is a prefix as a whole, for caches that can't be cut."""
        fitting = [
            n
            for n in self._entries
            if n[0] == model and len(n[1]) < len(row) and row.startswith(n[1])
        ]
        best = max(fitting, key=lambda name: len(name[1]), default=None)
        return best, 0 if best is None else len(best[1]) // _WIDTH

    def _drop(self, name: tuple[Any, bytes]) -> None:
        self.nbytes -= self._entries.pop(name).nbytes


def _row(tokens: Sequence[int]) -> bytes:
    return np.asarray(tokens, dtype=np.int64).tobytes()


def _common(a: bytes, b: bytes) -> int:
    """Length of the common prefix, in tokens."""
    length = min(len(a), len(b)) // _WIDTH
    one, other = np.frombuffer(a, np.int64, length), np.frombuffer(b, np.int64, length)
    different = np.flatnonzero(one != other)
    return int(different[0]) if len(different) else length
