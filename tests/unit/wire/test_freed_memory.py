"""What large blocks leave in a process' memory, in a process of its own: malloc's settings hold for
the whole of it."""

from __future__ import annotations

import sys

import pytest

from tests.support.programs import output_of

MEGABYTES, BLOCKS = 10, 10
PROGRAM = f"""
import psutil
from wire.processes.malloc import return_large_blocks

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
    used, left = map(int, output_of(PROGRAM).split())
    assert used > MEGABYTES * (BLOCKS - 1) << 20
    assert left < MEGABYTES << 20
