"""The last release's code out of git, to run beside this one's."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.faults.stack import ROOT

COMMIT = "89eafe7"


def unpacked(folder: Path) -> Path:
    """A folder with the last release. Skips, with a reason, where its commit isn't in the
    history."""
    got = subprocess.run(
        ["git", "archive", COMMIT, "api", "wire", "worker"], cwd=ROOT, capture_output=True
    )
    if got.returncode:
        pytest.skip(
            f"The git history isn't complete: commit {COMMIT}, the last release, is needed to run it beside this one."
        )
    with tarfile.open(fileobj=io.BytesIO(got.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder
