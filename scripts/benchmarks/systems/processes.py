"""Child processes that end with this one: each has a process group of its own, and its output goes
to a file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlxq.service.blas import with_openblas
from scripts.benchmarks.systems.plan import BenchError, Plan

START_LIMIT_S = 120.0
_HURRY_AFTER_S = 8.0
_KILL_AFTER_S = 40.0
ROOT = Path(__file__).resolve().parents[3]


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this repository."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(plan: Plan | None = None) -> dict[str, str]:
    """The environment of every child: no settings of a service from outside, our code, the BLAS
    of the plan."""
    ours = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith("MLXQ_") and k not in ("REDIS_URL", "LD_PRELOAD")
    }
    ours["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), ours.get("PYTHONPATH")]))
    ours["HF_HUB_OFFLINE"] = "1"
    return with_openblas(ours) if plan is not None and plan.openblas else ours


class Child:
    """A started process and what it has printed."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        log: Path,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self._log = log
        self._command = " ".join(command[:5])
        self.started = time.perf_counter()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=environ,
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text("utf-8", errors="replace")

    def check(self) -> None:
        """Raise BenchError when it has ended."""
        if (status := self._process.poll()) is not None:
            raise BenchError(
                f"{self._command} … ended with status {status}:\n{self.output[-3000:]}"
            )

    def line(self, start: str, limit_s: float = START_LIMIT_S) -> str:
        """The line of its output that starts so, once it is there."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            # Only whole lines: the last one may still be on its way.
            for text in self.output.split("\n")[:-1]:
                if text.startswith(start):
                    return text
            self.check()
            time.sleep(0.01)
        raise BenchError(f"no line {start!r} in:\n{self.output[-3000:]}")

    def wait(self) -> None:
        """Until it has ended; raises BenchError when that was not well."""
        if self._process.wait() != 0:
            self.check()

    def end(self) -> None:
        """Ask its process group to end, ask again (a supervisor hurries then), and kill what is
        left."""
        asked = time.monotonic()
        self._signal(signal.SIGTERM)
        hurried = False
        while self._process.poll() is None:
            waited = time.monotonic() - asked
            if waited > _HURRY_AFTER_S and not hurried:
                hurried = True
                self._signal(signal.SIGTERM)
            if waited > _KILL_AFTER_S:
                break
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


@contextlib.contextmanager
def running(
    command: Sequence[str], environ: Mapping[str, str], log: Path, stdin: int = subprocess.DEVNULL
) -> Iterator[Child]:
    """A child for the length of the block. A Ctrl-C while it is being ended does not leave it
    behind."""
    child = Child(command, environ, log, stdin)
    try:
        yield child
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            child.end()
        finally:
            signal.signal(signal.SIGINT, before)


def finished(command: Sequence[str], environ: Mapping[str, str], log: Path) -> str:
    """Run a child to its end and return its output."""
    with running(command, environ, log) as child:
        child.wait()
        return child.output
