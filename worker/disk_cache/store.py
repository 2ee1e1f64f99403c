"""The folder and its index as one: entries are written, read, used, expired and deleted here.

Any thread may use it; what waits for a disk is called on the threads of this package alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from worker.disk_cache import entry_file
from worker.disk_cache.entry_file import BadEntry, Head
from worker.disk_cache.folder import ENDING, Folder
from worker.disk_cache.index import Index, StoredEntry
from worker.disk_cache.policy import LEAST_FREE

log = logging.getLogger(__name__)
_CLEARED = "cleared"


class Outdated(Exception):
    """The cache was cleared, or the entry replaced, while it was being written."""


@dataclass(slots=True)
class Counts:
    """What has happened since the start."""

    hits: int = 0
    loaded_tokens: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    entries_written: int = 0
    bad_entries: int = 0
    problem: str = ""
    """What last kept an entry from being written, as a word for the operator."""


class Store:
    """``cap`` is in bytes; ``now`` is the time in seconds since the epoch."""

    def __init__(
        self,
        folder: Folder,
        cap: int,
        lifetime_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.cap = cap
        self.counts = Counts()
        self._lifetime_s = lifetime_s
        self._now = now
        self._index = Index()
        self._generation = 0
        self._changes = threading.Lock()
        """Held while an entry appears or all disappear."""

    @property
    def nbytes(self) -> int:
        return self._index.nbytes

    def __len__(self) -> int:
        return len(self._index)

    def find(
        self, fingerprint: str, row: bytes, most: int, least: int
    ) -> tuple[StoredEntry, int] | None:
        """The entry with the longest prefix of a row, and how long that is: ``least`` to ``most``
        tokens."""
        return self._index.find(fingerprint, row, most, least)

    def covers(self, fingerprint: str, row: bytes) -> bool:
        return self._index.covers(fingerprint, row)

    def scan(self) -> None:
        """Read the heads of all files; those that are no entries are deleted."""
        found, generation = [], self._generation
        try:
            names = self.folder.names()
        except OSError as error:
            self._note("the folder can't be read", error)
            return
        for name in names:
            try:
                with self.folder.reading(name) as descriptor:
                    head = entry_file.read_head(descriptor)
                found.append(
                    (self.folder.used(name), StoredEntry.of(name, head, self.folder.size(name)))
                )
            except (OSError, BadEntry):
                self.folder.remove(name)
        found.sort(key=lambda one: one[0])
        with self._changes:
            if generation == self._generation:
                for _, entry in found:
                    self._delete(self._index.add(entry))
        self.tidy()

    def tidy(self) -> None:
        """Delete what is too old, and what is beyond the cap."""
        self._delete(self._index.expired(self._now(), self._lifetime_s))
        self._delete(self._index.excess(self.cap))

    def write(self, head: Head, pieces: Iterable[bytes], wanted: Callable[[], bool]) -> None:
        """Write an entry. Raises OSError, and Outdated once it isn't ``wanted`` any more."""
        name = hashlib.sha256(head.fingerprint.encode() + head.row).hexdigest()[:32] + ENDING
        size, generation = entry_file.file_bytes(head), self._generation
        self._delete(self._index.excess(self.cap - size))
        if self.folder.free_bytes() - size < LEAST_FREE:
            raise OSError("less than a gigabyte would be left on the disk")
        with self.folder.new(name) as file:
            writer = entry_file.FileWriter(file.descriptor, head)
            for piece in pieces:
                if generation != self._generation or not wanted():
                    raise Outdated
                writer.write(piece)
                self.counts.bytes_written += len(piece)
            writer.finish()
            os.fsync(file.descriptor)  # The rest is quick, and done under a lock.
            with self._changes:
                if generation != self._generation:
                    raise Outdated
                file.commit()
                replaced = self._index.add(StoredEntry.of(name, head, size))
        self.counts.entries_written += 1
        self.counts.problem = ""
        self._delete(replaced)

    def read(self, entry: StoredEntry) -> tuple[Head, list[NDArray[Any]]]:
        """An entry with its arrays. Raises BadEntry, for whatever reason it can't be had; it is
        forgotten then."""
        try:
            with self.folder.reading(entry.name) as descriptor:
                head, arrays = entry_file.read_entry(descriptor)
            if (head.fingerprint, head.row) != (entry.fingerprint, entry.row):
                raise BadEntry("another entry's")
        except (OSError, MemoryError, BadEntry) as error:
            self.counts.bad_entries += 1
            log.warning("a cached prompt on disk can't be used (%s)", error)
            self.discard(entry)
            raise BadEntry(str(error)) from error
        self.counts.bytes_read += entry.nbytes
        self._index.use(entry)
        self.folder.touch(entry.name)
        return head, arrays

    def discard(self, entry: StoredEntry) -> None:
        """Delete an entry that can't be used."""
        self._delete([entry])

    def clear(self) -> None:
        """Delete everything, also what is being written."""
        with self._changes:
            self._generation += 1
            self._index.clear()
            with contextlib.suppress(OSError):
                for name in self.folder.names():
                    self.folder.remove(name)

    def clear_once(self, mark: str) -> None:
        """Delete everything, unless that was done for this mark before, by whichever process."""
        with contextlib.suppress(OSError):
            if self.folder.read(_CLEARED) == mark.encode():
                return
        self.clear()
        with contextlib.suppress(OSError):
            self.folder.write(_CLEARED, mark.encode())

    def note_failure(self, error: OSError) -> None:
        """An entry could not be written."""
        self._note("it can't be written to", error)

    def _note(self, what: str, error: OSError) -> None:
        problem = f"{what}: {error.strerror or error}"
        if problem != self.counts.problem:
            log.warning("the cache of prompts on disk: %s", problem)
        self.counts.problem = problem

    def _delete(self, entries: Iterable[StoredEntry]) -> None:
        gone = list(entries)
        self._index.drop(entry.name for entry in gone)
        for entry in gone:
            self.folder.remove(entry.name)
