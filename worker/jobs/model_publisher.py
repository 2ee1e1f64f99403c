"""Publishes to Redis which models this worker has: in its folders, and on their way there."""

from __future__ import annotations

import threading
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from wire.model_registry import Registry
from worker.models.downloads import Downloads
from worker.models.files import created
from worker.models.folders import ModelFolders


class ModelPublisher:
    """Keeps the registry in step with the folders, and with downloads into one of them."""

    def __init__(self, redis: Redis, folders: ModelFolders, download_folder: Path) -> None:
        self._registry = Registry(redis)
        self._folders = folders
        self.downloads = Downloads(download_folder, self._download_changed)
        self._published: set[str] = set()
        self._lock = threading.Lock()

    def publish(self) -> None:
        with self._lock:
            self._publish()

    def _publish(self) -> None:
        records = {
            record.id: record for record in (*self._folders.all(), *self.downloads.records())
        }
        for gone in self._published - set(records):
            self._registry.remove(gone)
        for record in records.values():
            self._registry.put(record, created(record))
        self._published = set(records)

    def scan(self) -> None:
        """Look for models and publish them."""
        self._folders.scan()
        self.publish()

    def _download_changed(self, ended: bool) -> None:
        try:
            if ended:
                self.scan()
            else:
                self.publish()
        except RedisError:
            return  # The next change publishes all.
