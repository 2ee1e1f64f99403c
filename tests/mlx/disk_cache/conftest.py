"""A model with a disk cache beside it, stepped by the test in place of an engine."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.mlx.conftest import Bench
from wire.model_registry import ModelRecord
from wire.settings import Settings
from worker.backends import open_backend
from worker.backends.batching import kv_cache
from worker.disk_cache import writer
from worker.disk_cache.disk_cache import DiskCache
from worker.disk_cache.folder import Folder
from worker.disk_cache.store import Store
from worker.models.folders import with_kv
from worker.prompt_cache import PromptCache

LIMIT_S = 60.0


class DiskBench(Bench):
    """A bench with a disk cache: this thread is the engine's, and runs what the cache posts."""

    def __init__(
        self,
        record: ModelRecord,
        folder: Path,
        kv: Literal[4, 8] | None = None,
        *,
        memory: int = 1 << 28,
    ) -> None:
        self.record = with_kv(record, kv)
        self.cache = PromptCache(memory, kv_cache)
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.store = Store(Folder(folder), cap=1 << 28, lifetime_s=3600)
        self.disk = DiskCache(self.store, self.cache, memory, self._inbox.put)
        self.backend = open_backend(self.record, Settings(slots=8, prefill_step=32), self.cache)
        list(self.backend.start())
        self.disk.start(busy=lambda: bool(self.backend.sequences()))
        self.serve(until=lambda: self.disk.ready)

    def serve(self, *, until: Callable[[], bool]) -> None:
        """Run what the disk cache's threads ask of the engine."""
        end = time.monotonic() + LIMIT_S
        while not until():
            assert time.monotonic() < end, "the disk cache does not answer"
            try:
                self._inbox.get(timeout=0.01)()
            except queue.Empty:
                continue

    def run(self, *, until: Callable[[], bool] = lambda: False) -> None:
        rest_s = 0.0
        while self.backend.sequences() and not until():
            with contextlib.suppress(queue.Empty):
                self._inbox.get(timeout=rest_s or None, block=rest_s > 0)()
            step = self.backend.step()
            rest_s = step.rest_s
            for token in step.tokens:
                if token.end == "stop":
                    token.sequence.accept_last(token.token_id)
                else:
                    token.sequence.accept(token.token_id)

    def written(self, entries: int) -> None:
        """Wait until so many entries have been written."""
        self.serve(until=lambda: self.store.counts.entries_written >= entries)

    def close(self) -> None:
        closing = threading.Thread(target=self.disk.close, args=(LIMIT_S,))
        closing.start()
        self.serve(until=lambda: not closing.is_alive())
        self.backend.close()


@pytest.fixture
def open_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., DiskBench]]:
    """Benches on one folder, one after another."""
    monkeypatch.setattr(writer, "IDLE_S", 0.0)
    monkeypatch.setattr(writer, "POLL_S", 0.02)
    opened: list[DiskBench] = []

    def open_one(record: ModelRecord, **more: object) -> DiskBench:
        while opened:
            opened.pop().close()
        opened.append(DiskBench(record, tmp_path / "prompts", **more))  # type: ignore[arg-type]
        return opened[-1]

    yield open_one
    while opened:
        opened.pop().close()
