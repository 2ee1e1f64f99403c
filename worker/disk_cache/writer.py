"""The thread that writes entries: when nothing else is to be done, and slowly."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from worker.disk_cache.codec import NotExportable
from worker.disk_cache.engine_calls import Closed, EngineCalls
from worker.disk_cache.entry_file import Head, file_bytes
from worker.disk_cache.models import DiskModel
from worker.disk_cache.policy import BYTES_PER_S, IDLE_S, LEAST_TOKENS, WriteBudget
from worker.disk_cache.store import Outdated, Store
from worker.prompt_cache import Entry

log = logging.getLogger(__name__)
POLL_S = 0.5
PAUSE_S = 60.0
"""After a write that failed, or that the budget forbade."""
TIDY_S = 60.0


@dataclass(slots=True, eq=False)
class Job:
    """An entry to be written. ``urgent``: it has left the memory's cache, so that its memory is
    free once it is written."""

    model: DiskModel
    entry: Entry
    urgent: bool


class Writer:
    """``next_kept`` finds an entry that is in memory and not on the disk. ``most_pending``: bytes
    of entries that wait here."""

    def __init__(
        self,
        store: Store,
        engine: EngineCalls,
        *,
        next_kept: Callable[[], Job | None],
        most_pending: int,
    ) -> None:
        self._store = store
        self._engine = engine
        self._next_kept = next_kept
        self._busy: Callable[[], bool] = lambda: True
        self._most_pending = most_pending
        self._budget = WriteBudget(store.cap)
        self._pending: deque[Job] = deque()
        self._pending_lock = threading.Lock()
        self._current: Job | None = None
        self._idle_since = time.monotonic()
        self._paused_until = 0.0
        self._tidied = 0.0
        self._clearing: tuple[str, Callable[[], None]] | None = None
        self.cleared = ""
        self._flush_until = float("inf")
        """Infinite until the worker ends."""
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disk-cache-writes", daemon=True)

    def start(self, busy: Callable[[], bool]) -> None:
        """``busy`` says whether anything runs in the engine."""
        self._busy = busy
        self._thread.start()

    def close(self, patience_s: float) -> bool:
        """Write what isn't on the disk yet, for so long, and end; whether it has ended."""
        self._flush_until = time.monotonic() + patience_s
        self._paused_until = 0.0
        self._wake.set()
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def left(self, model: DiskModel, entry: Entry) -> None:
        """An entry has left the memory's cache without having been written. On the engine's
        thread."""
        if (current := self._current) is not None and current.entry is entry:
            current.urgent = True
        elif time.monotonic() >= self._paused_until:
            with self._pending_lock:  # Else the writer may clear them between look and removal.
                self._pending.append(Job(model, entry, urgent=True))
                while len(self._pending) > 1 and self._pending_bytes > self._most_pending:
                    self._pending.popleft()
        self._wake.set()

    def clear(self, mark: str, forget: Callable[[], None]) -> None:
        """Delete all entries, unless that was done for this mark before. ``forget`` drops those in
        memory, on the engine's thread. Returns at once; ``cleared`` becomes the mark."""
        self._clearing = (mark, forget)
        self._wake.set()

    @property
    def _pending_bytes(self) -> int:
        return sum(job.entry.nbytes for job in self._pending)

    @property
    def _closing(self) -> bool:
        return self._flush_until != float("inf")

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                closing = self._closing
                self._wake.wait(0 if closing else POLL_S)
                self._wake.clear()
                self._look_after()
                while self._clearing is None and (job := self._next()) is not None:
                    self._write(job)
                if closing:
                    return
        except Closed:
            return
        except Exception:
            log.exception("prompts are not written to the disk any more")

    def _look_after(self) -> None:
        if self._clearing is not None:
            (mark, forget), self._clearing = self._clearing, None
            self._engine.call(forget)
            self._give_up_pending()
            self._store.clear_once(mark)
            self.cleared = mark
        now = time.monotonic()
        if now - self._tidied >= TIDY_S:
            self._tidied = now
            self._store.tidy()

    def _next(self) -> Job | None:
        """The entry to write now."""
        now = time.monotonic()
        if now >= self._flush_until or now < self._paused_until:
            return None
        with self._pending_lock:
            if self._pending:
                return self._pending.popleft()
        if self._busy():
            self._idle_since = now
        if now - self._idle_since < IDLE_S and not self._closing:
            return None
        return self._next_kept()

    def _write(self, job: Job) -> None:
        self._current = job
        try:
            found = self._engine.call(lambda: self._export(job))
            if found is None or (size := file_bytes(found[0])) > self._store.cap:
                job.entry.stored = True
                return
            head, pieces = found
            if not self._budget.allows(size):
                self._pause()
                return
            self._budget.spend(size)
            self._store.write(head, self._paced(job, pieces), lambda: self._wanted(job))
            job.entry.stored = True
        except Outdated:
            return
        except OSError as error:
            self._store.note_failure(error)
            self._pause()
        except Closed:
            raise
        except Exception:
            log.exception("a cached prompt could not be written to the disk")
            job.entry.stored = True
        finally:
            self._current = None

    def _pause(self) -> None:
        self._paused_until = time.monotonic() + PAUSE_S
        self._give_up_pending()

    def _give_up_pending(self) -> None:
        with self._pending_lock:
            self._pending.clear()

    def _wanted(self, job: Job) -> bool:
        in_time = time.monotonic() < self._flush_until
        return in_time and not job.entry.replaced and self._clearing is None

    def _export(self, job: Job) -> tuple[Head, Iterator[bytes]] | None:
        """An entry as a file, on the engine's thread; None if it needn't be written."""
        entry, model = job.entry, job.model
        if entry.replaced or not is_worth_writing(model, entry):
            return None
        if self._store.covers(model.fingerprint, entry.row):
            return None
        try:
            export = model.codec.export(entry.cache, entry.checkpoints)
        except NotExportable as error:
            log.info("a cached prompt can't be written to the disk (%s)", error)
            return None
        head = Head(
            fingerprint=model.fingerprint,
            row=entry.row,
            places=None if entry.cuttable else tuple(sorted(entry.checkpoints)),
            created=time.time(),
            structure=export.structure,
            arrays=tuple(export.arrays),
        )
        return head, export.pieces()

    def _paced(self, job: Job, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces, one after another as they may be written."""

        def piece() -> Any:
            return next(pieces, None)

        while True:
            while not job.urgent and not self._closing and self._busy() and self._wanted(job):
                time.sleep(POLL_S / 5)
            copied = self._engine.call(piece)
            if copied is None:
                return
            yield copied
            if not self._closing:
                time.sleep(len(copied) / BYTES_PER_S)


def is_worth_writing(model: DiskModel, entry: Entry) -> bool:
    return bool(model.fingerprint) and entry.length >= LEAST_TOKENS
