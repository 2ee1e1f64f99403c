"""The entries on disk, found by the longest common prefix of their tokens. Reads no file."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from worker.disk_cache.entry_file import Head
from worker.prompt_cache import WIDTH, common_tokens, reach

MOST_ENTRIES = 1024
"""Bounds the look-up, which goes through every entry."""
CLOCK_SKEW_S = 3600.0
"""An entry that is younger than this by a clock that was set back counts as new."""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One file; ``nbytes`` is its size."""

    name: str
    fingerprint: str
    row: bytes
    places: tuple[int, ...] | None
    created: float
    nbytes: int

    @classmethod
    def of(cls, name: str, head: Head, nbytes: int) -> StoredEntry:
        return cls(name, head.fingerprint, head.row, head.places, head.created, nbytes)

    @property
    def tokens(self) -> int:
        return len(self.row) // WIDTH

    def reach(self, common: int) -> int:
        """To how many tokens, of ``common`` at most, its cache can be cut."""
        if self.places is None or common >= self.tokens:
            return min(common, self.tokens)
        return reach(self.places, common)

    def holds_all_of(self, other: StoredEntry) -> bool:
        """Whether the other one is a beginning of this and can be had from it."""
        shorter = self.fingerprint == other.fingerprint and self.row.startswith(other.row)
        return shorter and self.reach(other.tokens) == other.tokens


class Index:
    """Any thread may use it. Least recently used first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, StoredEntry] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(
        self, fingerprint: str, row: bytes, most: int, least: int
    ) -> tuple[StoredEntry, int] | None:
        """The entry with the longest prefix of a row: ``least`` to ``most`` tokens of it."""
        best, longest = None, least - 1
        with self._lock:
            entries = [e for e in self._entries.values() if e.fingerprint == fingerprint]
        for entry in entries:
            if longest >= most:
                break
            if common := common_tokens(row, entry.row, longest + 1):
                reached = entry.reach(min(common, most))
                if reached > longest:
                    best, longest = entry, reached
        return None if best is None else (best, longest)

    def covers(self, fingerprint: str, row: bytes) -> bool:
        """Whether exactly these tokens can be had from an entry."""
        tokens = len(row) // WIDTH
        with self._lock:
            return any(
                e.fingerprint == fingerprint and e.row.startswith(row) and e.reach(tokens) == tokens
                for e in self._entries.values()
            )

    def add(self, entry: StoredEntry) -> list[StoredEntry]:
        """Take in an entry; returns those that it takes the place of."""
        with self._lock:
            replaced = [
                other
                for other in self._entries.values()
                if other.name == entry.name or entry.holds_all_of(other)
            ]
            for other in replaced:
                self._pop(other.name)
            self._entries[entry.name] = entry
            self.nbytes += entry.nbytes
        return [other for other in replaced if other.name != entry.name]

    def use(self, entry: StoredEntry) -> None:
        with self._lock:
            if entry.name in self._entries:
                self._entries.move_to_end(entry.name)

    def drop(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                self._pop(name)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self.nbytes = 0

    def excess(self, cap: int) -> list[StoredEntry]:
        """The least recently used entries beyond so many bytes."""
        with self._lock:
            over, count = self.nbytes - cap, len(self._entries) - MOST_ENTRIES
            taken = []
            for entry in self._entries.values():
                if over <= 0 and count <= 0:
                    break
                taken.append(entry)
                over, count = over - entry.nbytes, count - 1
            return taken

    def expired(self, now: float, lifetime_s: float) -> list[StoredEntry]:
        """Entries that are older than they may be, or from a future that a clock has told of."""
        with self._lock:
            return [
                entry
                for entry in self._entries.values()
                if not -CLOCK_SKEW_S <= now - entry.created <= lifetime_s
            ]

    def _pop(self, name: str) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self.nbytes -= entry.nbytes
