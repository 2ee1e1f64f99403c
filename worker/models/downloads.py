"""Downloads models into a folder of this machine, cancels and deletes them.

Runs during generation, one thread a download. Knows folders and origins; knows no Redis and no MLX.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wire.model_registry import ModelRecord
from wire.models.packaged import PACKAGED_MODELS
from worker.errors import WorkerError
from worker.models import files
from worker.models.download_progress import Progress
from worker.models.files import PARTIAL
from worker.models.hub import HuggingFaceHub
from worker.models.origins import Cancelled, Offer, Origin, Origins
from worker.models.packaged.origin import PackagedModels

log = logging.getLogger(__name__)

LOOK_S = 0.5
CANCEL_S = 15.0
"""Longest wait for a cancelled download to end."""
_CANCELLED = "The download was cancelled."
_INTERRUPTED = "The download was interrupted."


@dataclass(frozen=True, slots=True)
class _Running:
    """A download under way."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)


class Downloads:
    """Downloads into ``folder``.

    ``changed`` is called on their threads: at each progress, and with True when one has ended.
    """

    def __init__(
        self, folder: Path, changed: Callable[[bool], None], origins: Origins | None = None
    ) -> None:
        """The first of ``origins`` that knows a name is asked for it."""
        self._folder = folder
        self._changed = changed
        self._origins = origins or (PackagedModels(), HuggingFaceHub())
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._records = {record.id: record for record in self._interrupted()}

    def records(self) -> list[ModelRecord]:
        """The models under way, and those whose download ended early and may be resumed."""
        with self._lock:
            return list(self._records.values())

    def start(self, wanted: str) -> ModelRecord:
        """Begin the download of a packaged model or a repository, or resume one.

        Raises WorkerError: what the origin says of the name; ``conflict`` for one that is under way
        or there already; ``insufficient_disk`` when the disk can't hold it.
        """
        origin, offer = self._find(wanted)
        target = self._folder / offer.folder
        self._check_idle(offer, target)
        partial = _partial(target)
        there = files.size_of(partial)
        self._check_disk(offer, there)
        record, running = _record(offer, target), _Running()
        with self._lock:
            if record.id in self._running:
                raise _under_way(offer)
            self._records[record.id], self._running[record.id] = record, running
        arguments = (origin, offer, record, running)
        threading.Thread(target=self._run, args=arguments, name="download", daemon=True).start()
        return record

    def cancel(self, record: ModelRecord) -> None:
        """End a download; what it has fetched is kept.

        Raises WorkerError ``conflict`` for one that isn't under way.
        """
        with self._lock:
            running = self._running.get(record.id)
        if running is None:
            raise WorkerError("conflict", f"{record.name} is not being downloaded.")
        running.cancelled.set()
        running.ended.wait(CANCEL_S)

    def delete(self, record: ModelRecord) -> None:
        """Delete a model's or an adapter's files.

        Raises WorkerError ``forbidden`` for one that wasn't downloaded here.
        """
        folder = Path(record.adapter_path or record.path).resolve()
        if not record.deletable or folder.parent != self._folder.resolve():
            raise WorkerError("forbidden", "Only models that were downloaded here can be deleted.")
        with self._lock:
            if record.id in self._running:
                raise WorkerError(
                    "conflict", f"{record.name} is being downloaded: cancel it first."
                )
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(_partial(folder), ignore_errors=True)
        with self._lock:
            self._records.pop(record.id, None)

    def _find(self, wanted: str) -> tuple[Origin, Offer]:
        for origin in self._origins:
            if (offer := origin.find(wanted)) is not None:
                return origin, offer
        names = ", ".join(model.name for model in PACKAGED_MODELS)
        message = f"No packaged model has this name (there is {names}). A model of the hub is named"
        raise WorkerError("model_not_found", f"{message} OWNER/NAME.")

    def _check_idle(self, offer: Offer, target: Path) -> None:
        if target.exists():
            raise WorkerError("conflict", f"{offer.name} is here already.")
        with self._lock:
            if files.download_id(offer.folder) in self._running:
                raise _under_way(offer)

    def _check_disk(self, offer: Offer, there: int) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            message = f"The folder for downloads can't be used ({error.strerror})."
            raise WorkerError("insufficient_disk", message) from None
        needed = max(0, offer.disk - there)
        if needed > free:
            message = f"{offer.name} needs {needed >> 20} MiB of disk; {free >> 20} MiB are free."
            raise WorkerError("insufficient_disk", message)

    def _run(self, origin: Origin, offer: Offer, record: ModelRecord, running: _Running) -> None:
        target = self._folder / offer.folder
        watch = threading.Thread(
            target=self._watch, args=(offer, record, running), name="download-progress", daemon=True
        )
        watch.start()
        why: str | None = _INTERRUPTED
        try:
            origin.fetch(offer, _partial(target), running.cancelled)
            # Under its own name only when it is whole: a scan in between finds no half model.
            _partial(target).rename(target)
            self._changed(True)  # Found before it is no longer a download: it is never gone.
            why = None
        except Cancelled:
            why = _CANCELLED
        except WorkerError as error:
            why = error.message
            log.warning("a download failed (%s)", error.code, extra=record.log_fields)
        except Exception as error:
            why = f"The download failed ({type(error).__name__})."
            log.exception("a download failed", extra=record.log_fields)
        finally:
            self._ended(record, why)
            watch.join()
            self._changed(True)
            running.ended.set()

    def _ended(self, record: ModelRecord, why: str | None) -> None:
        """``why`` is None once the model is there."""
        with self._lock:
            self._running.pop(record.id, None)
            last = self._records.pop(record.id, record)
            if why is not None:
                self._records[record.id] = last.model_copy(
                    update={
                        "downloading": False,
                        "download_speed": None,
                        "download_eta": None,
                        "download_error": why,
                    }
                )

    def _watch(self, offer: Offer, record: ModelRecord, running: _Running) -> None:
        partial = _partial(Path(record.path))
        progress = Progress(offer.download_size, files.size_of(partial))
        while not running.cancelled.wait(LOOK_S):
            told = progress.told(record, files.size_of(partial))
            with self._lock:
                if record.id not in self._running:
                    return
                self._records[record.id] = told
            self._changed(False)

    def _interrupted(self) -> list[ModelRecord]:
        """The downloads that a worker before this one has not finished."""
        left = self._folder.glob(f"*{PARTIAL}") if self._folder.is_dir() else ()
        return [
            _described(folder.with_name(folder.name.removesuffix(PARTIAL)), files.size_of(folder))
            for folder in sorted(left)
        ]


def _partial(target: Path) -> Path:
    return target.with_name(target.name + PARTIAL)


def _under_way(offer: Offer) -> WorkerError:
    return WorkerError("conflict", f"{offer.name} is being downloaded already.")


def _record(offer: Offer, target: Path) -> ModelRecord:
    return _described(target, offer.size).model_copy(
        update={"downloading": True, "download_error": None}
    )


def _described(target: Path, size: int) -> ModelRecord:
    """A model that isn't there yet."""
    repository, name = files.repository_of(target.name)
    return ModelRecord(
        id=files.download_id(target.name),
        name=name,
        path=str(target),
        size=size,
        architecture="unknown",
        context_window=0,
        is_vision=False,
        downloaded=False,
        download_progress=0.0,
        download_error=_INTERRUPTED,
        repository=repository,
        revision="",
        deletable=True,
    )
