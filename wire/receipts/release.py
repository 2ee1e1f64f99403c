"""Which release of this service the code is."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISTRIBUTION = "mlx-chat-queue"


def release() -> str:
    """The version of the installed package, or of the checkout that this code is in."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        file = Path(__file__).parents[2] / "pyproject.toml"
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        return f"{project['version']} (checkout)"
