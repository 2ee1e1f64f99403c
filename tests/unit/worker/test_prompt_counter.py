"""When a process that counts prompts is replaced."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

ASKS = "import worker.prompt_counter as p; p.WORN_BYTES = 256 << 20; print(p.is_worn())"


@pytest.mark.parametrize(
    ("had_by_parent", "had_by_itself", "worn"), [(400, 0, False), (0, 400, True)]
)
def test_it_is_its_own_memory_that_counts(
    had_by_parent: int, had_by_itself: int, worn: bool
) -> None:
    """On Linux the most memory that a process has had includes its parent's, up to its start."""
    child = f"held = bytearray({had_by_itself} << 20); {ASKS}"
    parent = (
        f"import subprocess, sys; held = bytearray({had_by_parent} << 20); "
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", parent], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{worn}\n"
