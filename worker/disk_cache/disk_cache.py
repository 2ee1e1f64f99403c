"""The disk cache of a worker: what the batch loop asks, and what it is told.

What the batch loop calls, on the engine's thread, never waits for a disk.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wire.disk_cache import DiskCacheUse
from worker.disk_cache.codec import Codec, Restored
from worker.disk_cache.engine_calls import EngineCalls, Post
from worker.disk_cache.fingerprint import WeightHashes
from worker.disk_cache.hasher import Hasher
from worker.disk_cache.models import DiskModel
from worker.disk_cache.policy import LEAST_TOKENS, PENDING_SHARE, LoadChoice, Offer
from worker.disk_cache.reader import Load, Reader
from worker.disk_cache.store import Store
from worker.disk_cache.writer import Job, Writer, is_worth_writing
from worker.prompt_cache import WIDTH, Entry, PromptCache

CLOSING_S = 0.5
"""How long the end waits for an entry that is being read."""


class Wait:
    """A prompt's wait for its entry: it has an end in any case."""

    def __init__(self, load: Load, until: float) -> None:
        self._load = load
        self._until = until

    @property
    def pending(self) -> bool:
        return not self._load.done and time.monotonic() < self._until


class DiskCache:
    """Beside ``memory``, the cache of prompts in memory, of ``budget`` bytes."""

    def __init__(self, store: Store, memory: PromptCache, budget: int, post: Post) -> None:
        self.store = store
        self._memory = memory
        self._budget = budget
        self._models: dict[Any, DiskModel] = {}
        self._loads: dict[str, Load] = {}
        self._choice = LoadChoice()
        self._looked_at = -1
        self._engine = EngineCalls(post)
        self._hashes = WeightHashes(store.folder)
        self._hasher = Hasher(self._hashes)
        self._opening: dict[str, str] = {}
        """Known hashes of the weights of models that are being opened, by their folders."""
        self._reader = Reader(store, self._engine, self._choice, self._landed)
        self._writer = Writer(
            store,
            self._engine,
            next_kept=self._next_kept,
            most_pending=budget // PENDING_SHARE,
        )
        memory.disk = self

    def start(self, busy: Callable[[], bool]) -> None:
        """``busy`` says whether a chat or a batch's prompt is in the engine."""
        self._hasher.start()
        self._reader.start()
        self._writer.start(busy)

    def close(self, patience_s: float) -> None:
        """Write what isn't on the disk yet, for so long, while the engine's thread still runs."""
        ended = self._writer.close(patience_s)
        self._engine.close()
        ended &= self._hasher.close(CLOSING_S)
        if self._reader.close(CLOSING_S) and ended:  # Else its lock goes with the process.
            self.store.folder.close()

    def clear(self, mark: str) -> None:
        """Delete all entries, on the disk and in memory, unless that was done for this mark before.
        Returns at once: ``use`` has the mark when it is done."""
        if mark != self._writer.cleared:
            self._writer.clear(mark, self._memory.clear)

    def use(self) -> DiskCacheUse:
        """For the worker's status."""
        counts = self.store.counts
        return DiskCacheUse(
            folder=str(self.store.folder.path),
            bytes=self.store.nbytes,
            cap_bytes=self.store.cap,
            entries=len(self.store),
            hits=counts.hits,
            loaded_tokens=counts.loaded_tokens,
            bytes_read=counts.bytes_read,
            bytes_written=counts.bytes_written,
            bad_entries=counts.bad_entries,
            problem=counts.problem,
            cleared=self._writer.cleared,
        )

    @property
    def ready(self) -> bool:
        """Whether the folder has been listed, and the weights of all loaded models are known."""
        hashed = all(model.fingerprint for model in list(self._models.values()))
        return self._reader.ready and hashed

    def opening(self, folder: str) -> None:
        """A model is being opened, on the thread that calls this."""
        self._opening.pop(folder, None)  # Of a load that failed.
        with contextlib.suppress(OSError):
            if (weights := self._hashes.known(Path(folder))) is not None:
                self._opening[folder] = weights

    # --- on the engine's thread -------------------------------------------------------------------

    def attach(self, key: Any, folder: str, revision: str, codec: Codec) -> None:
        """A model has been loaded."""
        model = self._models[key] = DiskModel(key, Path(folder), revision, codec)
        weights = self._opening.pop(folder, None)
        if weights is None:
            self._hasher.submit(model)
        else:
            model.identify(weights)

    def detach(self, key: Any) -> None:
        """A model has been unloaded."""
        self._models.pop(key, None)

    def find(self, key: Any, row: bytes, known: int, token_s: float) -> Wait | None:
        """Begin to read an entry that has a longer prefix of a row than the ``known`` tokens, if
        that is worth it. ``token_s``: how long the model takes to read a token, infinite if that
        isn't known."""
        model = self._models.get(key)
        if model is None or not model.fingerprint:
            return None
        most = len(row) // WIDTH - 1  # one token is left to get logits from
        found = self.store.find(model.fingerprint, row, most, known + LEAST_TOKENS)
        if found is None:
            return None
        entry, length = found
        offer = Offer(length - known, entry.tokens, entry.nbytes, token_s)
        if entry.nbytes > self._budget or not self._choice.worthwhile(offer):
            return None
        if (load := self._loads.get(entry.name)) is None or load.done:
            under_way = {name: one for name, one in self._loads.items() if not one.done}
            load = Load(model, entry)
            self._loads = under_way | {entry.name: load}
            self._reader.submit(load)
        return Wait(load, time.monotonic() + self._choice.patience_s(offer))

    def _landed(self, model: DiskModel, tokens: list[int], restored: Restored) -> None:
        if self._models.get(model.key) is not model:
            return  # It was unloaded meanwhile.
        self._memory.insert(model.key, tokens, *restored, stored=True)
        self.store.counts.hits += 1
        self.store.counts.loaded_tokens += len(tokens)

    def left(self, key: Any, entry: Entry) -> None:
        """An entry has been dropped from the memory."""
        model = self._models.get(key)
        if model is not None and not entry.stored and is_worth_writing(model, entry):
            self._writer.left(model, entry)

    # --- on the writer's thread -------------------------------------------------------------------

    def _next_kept(self) -> Job | None:
        inserted = self._memory.inserted
        if self._looked_at == inserted:
            return None
        job = self._engine.call(self._unwritten)
        if job is None and all(model.fingerprint for model in list(self._models.values())):
            self._looked_at = inserted
        return job

    def _unwritten(self) -> Job | None:
        for key, entry in self._memory.unstored():
            model = self._models.get(key)
            if model is not None and is_worth_writing(model, entry):
                return Job(model, entry, urgent=False)
        return None
