"""Downloads models from the hub into a folder of this machine, and deletes them.

Runs during generation, one thread a download. Knows folders and the hub's client; knows no Redis
and no MLX.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from wire.model_registry import ModelRecord
from worker.errors import WorkerError

log = logging.getLogger(__name__)

PATTERNS = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""No code and no pickles: a model is its weights, its config and its tokeniser."""
LOOK_S = 1.0
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_IDS = uuid.UUID("d40e2d0f-3f0b-4d5a-8a4d-0c5f1f0d7c11")
_PARTIAL = ".partial"


class Hub(Protocol):
    """A model hub."""

    def size(self, repository: str) -> int:
        """Bytes of a model's files.

        Raises WorkerError ``model_not_found`` if there is no such repository.
        """

    def fetch(self, repository: str, folder: Path) -> None:
        """Write a model's files into the folder; those of an earlier try are kept."""


class HuggingFaceHub:
    """The Hugging Face hub, through its own client and that client's variables."""

    def size(self, repository: str) -> int:
        from huggingface_hub import snapshot_download

        try:
            files = snapshot_download(repository, allow_patterns=list(PATTERNS), dry_run=True)
        except Exception as error:
            raise WorkerError(
                "model_not_found", f"The hub has no such model for us ({type(error).__name__})."
            ) from None
        return sum(file.file_size or 0 for file in files)

    def fetch(self, repository: str, folder: Path) -> None:
        from huggingface_hub import snapshot_download

        snapshot_download(repository, allow_patterns=list(PATTERNS), local_dir=folder)


class Downloads:
    """Downloads into ``folder``; ``changed`` is called on their threads at each progress."""

    def __init__(self, folder: Path, changed: Callable[[], None], hub: Hub | None = None) -> None:
        self._folder = folder
        self._changed = changed
        self._hub = hub or HuggingFaceHub()
        self._records: dict[str, ModelRecord] = {}
        self._lock = threading.Lock()

    def records(self) -> list[ModelRecord]:
        """The models under way, and those whose download failed and may be tried again."""
        with self._lock:
            return list(self._records.values())

    def start(self, repository: str) -> ModelRecord:
        """Begin a download, or resume one that was interrupted.

        Raises WorkerError: ``model_not_found`` for a bad name or an unknown repository,
        ``conflict`` for one that is under way or there already, ``insufficient_disk`` when the disk
        can't hold it.
        """
        if not _NAME.fullmatch(repository) or ".." in repository:
            raise WorkerError("model_not_found", "A model of the hub is named as owner/name.")
        target = self._folder / repository.replace("/", "--")
        with self._lock:
            running = self._records.get(repository)
        if target.exists() or (running is not None and running.downloading):
            raise WorkerError(
                "conflict", "This model has been downloaded, or is just being downloaded."
            )
        total = self._hub.size(repository)
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if total > free:
            raise WorkerError(
                "insufficient_disk",
                f"The model needs {total >> 20} MiB of disk; {free >> 20} are free.",
            )
        record = _record(repository, target, total)
        self._put(record)
        threading.Thread(
            target=self._run, args=(record, target, total), name="download", daemon=True
        ).start()
        return record

    def delete(self, record: ModelRecord) -> None:
        """Delete a model's files.

        Raises WorkerError ``forbidden`` for one that wasn't downloaded here.
        """
        folder = Path(record.path).resolve()
        if not record.deletable or folder.parent != self._folder.resolve():
            raise WorkerError("forbidden", "Only models that were downloaded here can be deleted.")
        if record.downloading:
            raise WorkerError("conflict", "The model is just being downloaded.")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder.with_name(folder.name + _PARTIAL), ignore_errors=True)
        with self._lock:
            self._records.pop(record.repository or "", None)

    def _run(self, record: ModelRecord, target: Path, total: int) -> None:
        partial = target.with_name(target.name + _PARTIAL)
        done = threading.Event()
        threading.Thread(
            target=self._watch, args=(record, partial, total, done), daemon=True
        ).start()
        try:
            self._hub.fetch(record.repository or "", partial)
            # Under its own name only when it is whole: a scan in between finds no half model.
            partial.rename(target)
            with self._lock:
                self._records.pop(record.repository or "", None)
        except Exception as error:
            log.warning("the download of %s failed (%s)", record.repository, type(error).__name__)
            self._put(record.model_copy(update={"downloading": False}))
        finally:
            done.set()
            self._changed()

    def _watch(self, record: ModelRecord, partial: Path, total: int, done: threading.Event) -> None:
        while not done.wait(LOOK_S):
            there = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
            progress = min(0.99, there / total) if total else 0.0
            with self._lock:
                if done.is_set() or record.repository not in self._records:
                    return
                self._records[record.repository] = record.model_copy(
                    update={"download_progress": round(progress, 3)}
                )
            self._changed()

    def _put(self, record: ModelRecord) -> None:
        with self._lock:
            self._records[record.repository or ""] = record


def _record(repository: str, target: Path, total: int) -> ModelRecord:
    return ModelRecord(
        id=str(uuid.uuid5(_IDS, repository)),
        name=repository.split("/")[1],
        path=str(target),
        size=total,
        architecture="unknown",
        context_window=0,
        is_vision=False,
        downloaded=False,
        downloading=True,
        download_progress=0.0,
        repository=repository,
        revision="",
        deletable=True,
    )
