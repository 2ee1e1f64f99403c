"""The thread that reads entries: a prompt waits for its entry, and the others' streams go on."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

import numpy as np

from worker.disk_cache.codec import Restored
from worker.disk_cache.engine_calls import Closed, EngineCalls
from worker.disk_cache.entry_file import BadEntry
from worker.disk_cache.index import StoredEntry
from worker.disk_cache.models import DiskModel
from worker.disk_cache.policy import LoadChoice
from worker.disk_cache.store import Store

log = logging.getLogger(__name__)
Landed = Callable[[DiskModel, list[int], Restored], None]
"""Takes an entry into the prompt cache, on the engine's thread."""


class Load:
    """An entry on its way into memory. ``done``: it has landed or failed."""

    def __init__(self, model: DiskModel, entry: StoredEntry) -> None:
        self.model = model
        self.entry = entry
        self.done = False


class Reader:
    """Reads one entry after another."""

    def __init__(
        self, store: Store, engine: EngineCalls, choice: LoadChoice, landed: Landed
    ) -> None:
        self._store = store
        self._engine = engine
        self._choice = choice
        self._landed = landed
        self.ready = False
        """Whether the folder has been listed."""
        self._work: queue.SimpleQueue[Load | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="disk-cache-reads", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, load: Load) -> None:
        self._work.put(load)

    def close(self, patience_s: float) -> bool:
        """End after the entry in hand; whether it has."""
        self._work.put(None)
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._store.scan()
        except Exception:
            log.exception("the cached prompts on disk could not be listed")
        self.ready = True
        while (load := self._work.get()) is not None:
            try:
                self._load(load)
            except Closed:
                return
            except Exception:  # An entry that can't be had is a miss, whatever the reason.
                log.exception("a cached prompt on disk could not be loaded")
                self._store.discard(load.entry)
            finally:
                load.done = True

    def _load(self, load: Load) -> None:
        began = time.monotonic()
        try:
            head, arrays = self._store.read(load.entry)
        except BadEntry:
            return
        codec = load.model.codec
        made = []
        for array in arrays:
            copying = time.monotonic()
            made.append(codec.array(array))
            # Copying holds the interpreter lock: leave the streams as much time as it took.
            time.sleep(time.monotonic() - copying)
        tokens = np.frombuffer(head.row, np.int64).tolist()
        self._choice.measured(load.entry.nbytes, time.monotonic() - began)

        def land() -> None:
            self._landed(load.model, tokens, codec.restore(head.structure, made))
            load.done = True

        self._engine.call(land)
