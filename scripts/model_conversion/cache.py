"""Where made models lie: in the user's cache folder. A folder that is there is whole.

A model is made in a folder beside its place and renamed into it, so that what breaks off leaves
nothing behind that looks like a model.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from worker.errors import WorkerError
from worker.models.packaged.catalogue import Conversion, Source
from worker.models.packaged.conversion import digest_of

Fetch = Callable[[Source, Path], Path]
Convert = Callable[[Conversion, Path, Path], None]
"""Writes a model into an empty folder, given the GGUF file."""
_DIGEST = "SHA256"
"""A file in each folder, written last, with the digest of the others."""
_SCRATCH = ".making-"


def default_root() -> Path:
    """The folder of made models in the place where this system keeps users' caches."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mlxq" / "models"
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (chosen if chosen.is_absolute() else Path.home() / ".cache") / "mlxq" / "models"


def is_made(conversion: Conversion, root: Path) -> bool:
    try:
        return (root / conversion.name / _DIGEST).read_text("utf-8").strip() == conversion.sha256
    except OSError:
        return False


def make(
    conversions: Sequence[Conversion],
    root: Path,
    fetch: Fetch,
    convert: Convert,
    say: Callable[[str], None],
) -> None:
    """Make those of the models that are not there. Raises WorkerError."""
    if all(is_made(conversion, root) for conversion in conversions):
        return
    with _alone(root):
        missing = [c for c in conversions if not is_made(c, root)]
        for source, of_one in groupby(missing, lambda conversion: conversion.source):
            with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=root) as scratch:
                say(f"Downloading {source.terms}")
                gguf = fetch(source, Path(scratch))
                for conversion in of_one:
                    say(f"Making {root / conversion.name} ({conversion.size})")
                    _make(conversion, gguf, root / conversion.name, Path(scratch), convert)


def _make(
    conversion: Conversion, gguf: Path, target: Path, scratch: Path, convert: Convert
) -> None:
    new = scratch / conversion.name
    new.mkdir()
    convert(conversion, gguf, new)
    if (found := digest_of(new)) != conversion.sha256:
        raise WorkerError(
            "internal_error", f"{conversion.name} came out with SHA-256 {found}, not the known."
        )
    (new / _DIGEST).write_text(f"{conversion.sha256}\n", encoding="utf-8")
    if target.exists():  # made by an earlier version of this program
        target.rename(scratch / f"{conversion.name}.old")
    new.rename(target)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One program at a time makes models; what a killed one has left behind goes."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for left in root.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left)
        yield
