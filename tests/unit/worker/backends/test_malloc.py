"""The heap settings of a worker, in a process of its own: they hold for the whole process."""

from __future__ import annotations

import sys

from tests.support.programs import output_of

MEGABYTES, TIMES = 20, 20
PROGRAM = f"""
import resource, threading
from worker.backends.cpu.malloc import give_back, keep_freed_memory

def use():
    for _ in range({TIMES}):
        kept = [bytearray({MEGABYTES} << 20) for _ in range(3)]
        del kept

keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread = threading.Thread(target=use)
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
give_back()
"""


def test_memory_that_a_thread_frees_is_used_again() -> None:
    pages = (MEGABYTES << 20) // 4096
    assert int(output_of(PROGRAM)) < 4 * pages or sys.platform != "linux"
