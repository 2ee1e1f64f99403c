"""Programs that run in an interpreter of their own."""

from __future__ import annotations

import subprocess
import sys

_AFTER_LOCK_DOWN = """
import socket, {module} as child
from wire.processes.child import lock_down
child.warm_up()
lock_down(child.MEMORY)
for attempt in (lambda: open("/etc/hostname"), lambda: open("/dev/null", "w"), socket.socket):
    try:
        attempt()
        print("done")
    except OSError as error:
        print(error.errno)
try:
    bytearray(2 * child.MEMORY)
    print("taken")
except MemoryError:
    print("refused")
"""


def output_of(program: str) -> str:
    """What a Python program prints; fails if it ends with an error."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def after_lock_down(module: str) -> str:
    """A program that prints what the child process of a module can still do once it is locked down:
    open a file, write one, open a socket, take twice its memory."""
    return _AFTER_LOCK_DOWN.format(module=module)
