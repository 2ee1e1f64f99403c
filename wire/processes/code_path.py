"""Where child processes look for code: this installation first."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])


def code_path(inherited: str) -> str:
    """PYTHONPATH of a child: this installation, then the inherited entries.

    Entries that mean another folder in each current folder (``.``, an empty one) are left out.
    """
    entries = [entry for entry in inherited.split(os.pathsep) if os.path.isabs(entry)]
    return os.pathsep.join([_ROOT, *(entry for entry in entries if entry != _ROOT)])
