"""What large bodies leave in an API process' memory, in a process of its own: malloc's settings hold
for the whole process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

MEGABYTES, BLOCKS = 10, 10
PROGRAM = f"""
import psutil
from api.server import return_large_blocks

def filled(size):
    return bytearray(b"x") * size

return_large_blocks()
memory = psutil.Process().memory_info
before = memory().rss
largest = filled({3 * MEGABYTES} << 20)
del largest
large, small = [], []
for _ in range({BLOCKS}):
    large.append(filled({MEGABYTES} << 20))
    small.append(filled(2000))
used = memory().rss - before
large.clear()
print(used, memory().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_blocks_with_small_ones_between_them_are_returned() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    used, left = map(int, done.stdout.split())
    assert used > MEGABYTES * (BLOCKS - 1) << 20
    assert left < MEGABYTES << 20
