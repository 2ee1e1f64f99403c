"""The thread that hashes the weights of new models: what their entries are good for. It takes a
second for each gigabyte or two."""

from __future__ import annotations

import logging
import queue
import threading

from worker.disk_cache.fingerprint import WeightHashes
from worker.disk_cache.models import DiskModel

log = logging.getLogger(__name__)


class Hasher:
    """One model after another."""

    def __init__(self, hashes: WeightHashes) -> None:
        self._hashes = hashes
        self._closing = False
        self._work: queue.SimpleQueue[DiskModel | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="disk-cache-hashes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, model: DiskModel) -> None:
        """Work out the fingerprint of a model."""
        self._work.put(model)

    def close(self, patience_s: float) -> bool:
        """Give up the model in hand and end; whether it has."""
        self._closing = True
        self._work.put(None)
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (model := self._work.get()) is not None:
            try:
                weights = self._hashes.work_out(model.folder, lambda: not self._closing)
            except Exception as error:
                log.warning("a model's weights can't be hashed (%s)", error)
                continue
            if weights is not None:
                model.identify(weights)
