"""Compiled kernels for MLX's CPU backend, built by a process of their own.

On the CPU MLX has g++ build a fused kernel when it is first used, half a second for each, and keeps
it on disk. No chat waits for that: until the process has built them, callers compute the operations
one by one. The numbers are the same.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import subprocess
import sys

log = logging.getLogger(__name__)


class KernelBuilder:
    """Builds a module's kernels for each length of rows, which decides on the operations.

    The module is named, not imported: the process imports it and calls its
    ``compile_kernels(length)``.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._ready: dict[int, bool] = {}
        self._builders: dict[int, subprocess.Popen[bytes]] = {}

    def ready(self, length: int) -> bool:
        """Whether the kernels for rows of this length are built. The first call starts building
        them."""
        if length in self._builders:
            self._poll(length)
        elif length not in self._ready:
            # Without a compiler nothing is fused.
            self._ready[length] = "MLX_DISABLE_COMPILE" in os.environ
            if not self._ready[length]:
                self._start(length)
        return self._ready[length]

    def _start(self, length: int) -> None:
        if not self._builders:
            atexit.register(self.stop)
        safe = ["-P"] if sys.flags.safe_path else []
        command = [sys.executable, *safe, "-m", __name__, self._module, str(length)]
        self._builders[length] = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def _poll(self, length: int) -> None:
        status = self._builders[length].poll()
        if status is not None:
            del self._builders[length]
            self._ready[length] = status == 0
            if status:
                log.warning(
                    "the kernels for rows of %d could not be built: status %d", length, status
                )

    def stop(self) -> None:
        """End the processes that are still building."""
        for builder in self._builders.values():
            builder.kill()
            builder.wait()


if __name__ == "__main__":
    os.nice(10)  # Running chats come first.
    importlib.import_module(sys.argv[1]).compile_kernels(int(sys.argv[2]))
