"""What an entry is good for: exactly the model, its cache and the libraries that made it.

The revision of a model's record covers its small files whole and its weights by both ends. Weights
are hashed whole as well, once: the hashes are kept in the folder, by path, size and date of each
file. Two folders with the same files have the same fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.disk_cache.entry_file import FORMAT, READ_BYTES
from worker.disk_cache.folder import Folder

HASHES = "weights.json"
_MOST_HASHES = 4096


def fingerprint(*, revision: str, weights: str, made_by: Any) -> str:
    """``weights`` is their hash; ``made_by`` says how the cache is laid out and by which versions
    of which libraries: any JSON."""
    parts = [FORMAT, revision, weights, made_by]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class WeightHashes:
    """The hashes of models' weights. Any thread may use it."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._known: dict[str, list[Any]] = _read(folder)

    def known(self, model: Path) -> str | None:
        """The hash of a model's weights, if it has been worked out since they were changed."""
        found = []
        for file in _weights(model):
            size, date, digest = self._known.get(str(file), (None, None, None))
            status = file.stat()
            if (size, date) != (status.st_size, status.st_mtime_ns):
                return None
            found.append(str(digest))
        return _joined(found)

    def work_out(self, model: Path, go_on: Callable[[], bool]) -> str | None:
        """The same, read from the files: a second for each gigabyte or two. None once ``go_on``
        says no. Raises OSError."""
        found = []
        for file in _weights(model):
            status = file.stat()
            digest = _hash(file, go_on)
            if digest is None:
                return None
            found.append(digest)
            self._known.pop(str(file), None)
            self._known[str(file)] = [status.st_size, status.st_mtime_ns, digest]
        while len(self._known) > _MOST_HASHES:
            del self._known[next(iter(self._known))]
        self._folder.write(HASHES, json.dumps(self._known).encode())
        return _joined(found)


def _weights(model: Path) -> list[Path]:
    return sorted(file.resolve() for file in model.glob("*.safetensors"))


def _joined(hashes: list[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _hash(file: Path, go_on: Callable[[], bool]) -> str | None:
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as opened:
        while part := opened.read(READ_BYTES):
            if not go_on():
                return None
            digest.update(part)
    return digest.hexdigest()


def _read(folder: Folder) -> dict[str, list[Any]]:
    """What earlier processes have worked out; nothing if it can't be read."""
    try:
        known = json.loads(folder.read(HASHES))
        return {str(file): [size, date, digest] for file, (size, date, digest) in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
