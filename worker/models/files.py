"""Dates and hashes of a model's files, and ids of downloaded ones. Reads model folders; knows
neither MLX nor Redis."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from wire.model_registry import ModelRecord

MOST_FOLDERS = 10_000
"""Folders that are looked into, a level of a model folder: a whole disk named by mistake must not
hold up the start."""
PARTIAL = ".partial"
"""The ending of a folder that is being downloaded into, behind the model's own."""
_OF_PROMPTS = ("*.json", "*.jsonl", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*/*.jinja")
"""Files that a tokeniser, a template or a processor is read from."""
_SAMPLE = 64 << 10
"""Bytes read from each end of a weight file for the revision: the header is in the first, and
is most of it."""
_DOWNLOADS = uuid.UUID("d40e2d0f-3f0b-4d5a-8a4d-0c5f1f0d7c11")


def download_id(folder: str) -> str:
    """The id of a model that is downloaded into a folder of this name: the same before, during and
    after, so that a client can follow it. Its contents have their revision."""
    return str(uuid.uuid5(_DOWNLOADS, folder.replace("--", "/", 1)))


def repository_of(folder: str) -> tuple[str | None, str]:
    """The repository, if it has one, and the name of a model that was downloaded into a folder."""
    owner, separator, name = folder.partition("--")
    return (f"{owner}/{name}", name) if separator else (None, folder)


def subfolders(folders: Iterable[Path]) -> Iterator[Path]:
    """The folders in some, without hidden ones and hub caches, ``MOST_FOLDERS`` at most."""
    return islice((inner for folder in folders for inner in _listed(folder)), MOST_FOLDERS)


def _listed(folder: Path) -> list[Path]:
    """Those in one; none in one that can't be read."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in islice(entries, MOST_FOLDERS) if entry.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(found) if not name.startswith((".", "models--"))]


def size_of(folder: Path) -> int:
    """Bytes below a folder, while others write there; 0 without one."""
    total = 0
    for place, _, names in os.walk(folder):  # which passes over what is gone in between
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def created(record: ModelRecord) -> int:
    """The date of a model's or an adapter's newest file, seconds since the epoch; 0 without
    files."""
    folder = Path(record.adapter_path or record.path)
    try:
        return max(
            (int(file.stat().st_mtime) for file in folder.iterdir() if file.is_file()),
            default=0,
        )
    except OSError:
        return 0


def prompt_revision(folder: Path | str) -> str:
    """A hash of all that makes a model's prompts: its files but the weights."""
    digest = hashlib.sha256()
    files = (file for pattern in _OF_PROMPTS for file in Path(folder).glob(pattern))
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def revision(folder: Path, weights: Sequence[Path]) -> str:
    """A hash that changes when the model does: small files whole, weights by both ends."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.jinja")]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    for file in weights:
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_SAMPLE))
            opened.seek(max(0, size - _SAMPLE))
            digest.update(opened.read(_SAMPLE))
    return digest.hexdigest()[:16]
