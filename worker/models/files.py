"""Dates of a model's files, and ids of downloaded ones. Reads model folders; knows neither MLX nor
Redis."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from wire.model_registry import ModelRecord

PARTIAL = ".partial"
"""The ending of a folder that is being downloaded into, behind the model's own."""
_DOWNLOADS = uuid.UUID("d40e2d0f-3f0b-4d5a-8a4d-0c5f1f0d7c11")


def download_id(folder: str) -> str:
    """The id of a model that is downloaded into a folder of this name: the same before, during and
    after, so that a client can follow it. Its contents have their revision."""
    return str(uuid.uuid5(_DOWNLOADS, folder.replace("--", "/", 1)))


def repository_of(folder: str) -> tuple[str | None, str]:
    """The repository, if it has one, and the name of a model that was downloaded into a folder."""
    owner, separator, name = folder.partition("--")
    return (f"{owner}/{name}", name) if separator else (None, folder)


def size_of(folder: Path) -> int:
    """Bytes below a folder, while others write there; 0 without one."""
    total = 0
    for place, _, names in os.walk(folder):  # which passes over what is gone in between
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def created(record: ModelRecord) -> int:
    """The date of a model's newest file, seconds since the epoch; 0 without files."""
    try:
        return max(
            (int(file.stat().st_mtime) for file in Path(record.path).iterdir() if file.is_file()),
            default=0,
        )
    except OSError:
        return 0
