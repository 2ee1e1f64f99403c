"""Weights are hashed beside everything else that the disk cache does."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

from worker.disk_cache.disk_cache import DiskCache
from worker.disk_cache.folder import Folder
from worker.disk_cache.store import Store
from worker.prompt_cache import PromptCache


def test_clearing_does_not_wait_for_weights_that_are_hashed(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    os.mkfifo(weights)  # which is read until its other end is closed
    store = Store(Folder(tmp_path / "prompts"), 1 << 20, lifetime_s=3600)
    inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    cache = DiskCache(store, PromptCache(1 << 20, Mock()), 1 << 20, inbox.put)
    cache.start(busy=lambda: False)
    cache.opening(str(tmp_path))
    cache.attach("model", str(tmp_path), "1", Mock(made_by="a test"))
    cache.clear("now")

    def serve(until: Callable[[], bool]) -> None:
        while not until():
            with contextlib.suppress(queue.Empty):
                inbox.get(timeout=0.01)()

    serve(lambda: cache.use().cleared == "now")
    assert not cache.ready
    weights.write_bytes(b"weights")
    serve(lambda: cache.ready)
    closing = threading.Thread(target=cache.close, args=(5.0,))
    closing.start()
    serve(lambda: not closing.is_alive())
