"""Child processes for dangerous work: a question by pipe, an answer back, within limits.

A child that dies, hangs or takes too much is killed and replaced. Blocking, for threads. Knows no
question's meaning.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import psutil

from wire.processes.code_path import code_path

T = TypeVar("T")
Payload = bytes | memoryview
# Nothing else of the environment: it holds addresses and keys, and a child has no use for them.
_ENVIRONMENT = ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_LOOK_MS = 50
_LINE = 200
_PIECE = 1 << 18
_LAST_WORDS_S = 1.0
_ENDS_A_CHILD = ("time", "cpu", "memory")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may take: seconds a question, bytes, questions until it is replaced.

    Memory is looked at from outside. On Linux a child's own limit comes first; macOS enforces none
    on address space.
    """

    time_s: float
    memory: int
    answer: int
    questions: int


class Refused(Exception):
    """No answer; the text is the child's one-word reason, or time, cpu, memory or crash."""


class Died(Exception):
    """The child ended in the middle, or its output can't be an answer."""


def _environment() -> dict[str, str]:
    """The few variables that Python needs, with this package to be imported before any other."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return kept | {"PYTHONPATH": code_path(os.environ.get("PYTHONPATH", ""))}


class _Child:
    """One process. A call that raises anything but Refused leaves it unusable: close it."""

    def __init__(self, command: Sequence[str], limits: Limits) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a library's complaints may quote the question
            env=_environment(),
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._input.fileno(), False)
        self._limits = limits
        self.pid = self._process.pid
        self.left = limits.questions
        self.idle_since = time.monotonic()

    def ask(self, kind: str, payload: Payload) -> tuple[dict[str, Any], bytes]:
        """The answer's head, and what followed it. Raises Refused, or Died."""
        self.left -= 1
        until = time.monotonic() + self._limits.time_s
        try:
            self._write(memoryview(f"{kind} {len(payload)}\n".encode("ascii")), until)
            self._write(memoryview(payload), until)
            return self._answer(until)
        except Refused as refused:
            if str(refused) in _ENDS_A_CHILD:
                self.left = 0
            raise
        except (OSError, psutil.Error, ValueError, KeyError, TypeError):
            self._tell_cpu()
            raise Died from None

    def _write(self, data: memoryview, until: float) -> None:
        while data:
            self._wait(until, writing=True)
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self._input.fileno(), data[:_PIECE]) :]

    def _answer(self, until: float) -> tuple[dict[str, Any], bytes]:
        received = bytearray()
        while b"\n" not in received:
            received += self._read(until)
            if len(received) > _PIECE + _LINE:
                raise Died
        line, _, rest = received.partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        if "last" in head:
            self.left = 0
        if "refused" in head:
            raise Refused(str(head["refused"]))
        while len(rest) < min(head["length"], self._limits.answer):
            rest += self._read(until)
        if len(rest) != head["length"]:
            raise Died
        return head, bytes(rest)

    def _read(self, until: float) -> bytes:
        self._wait(until, writing=False)
        data = os.read(self._output.fileno(), _PIECE)
        if not data:
            self._tell_cpu()
            raise Died
        return data

    def _tell_cpu(self) -> None:
        """Raises Refused ``cpu`` if the system ended the process for the time that it computed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process.wait(_LAST_WORDS_S) == -signal.SIGXCPU:
                raise Refused("cpu") from None

    def _wait(self, until: float, writing: bool) -> None:
        """Until the pipe is ready. Raises Refused for a child that takes too long or too much."""
        # not select(): a process with a thousand streams has higher numbers than it takes
        poll = select.poll()
        poll.register(
            self._input if writing else self._output, select.POLLOUT if writing else select.POLLIN
        )
        while not poll.poll(_LOOK_MS):
            reason = "time" if time.monotonic() > until else ""
            if psutil.Process(self.pid).memory_info().rss > self._limits.memory:
                reason = "memory"
            if reason:
                self._process.kill()
                raise Refused(reason)

    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """End the process. Waits for its end, which a kill makes certain."""
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()


class ChildPool(Generic[T]):
    """Asks processes of their own, as many at once as threads call."""

    def __init__(
        self,
        command: Sequence[str],
        limits: Limits,
        read: Callable[[dict[str, Any], bytes], T],
    ) -> None:
        """``read`` makes an answer of head and data; it raises Died for what can't be one."""
        self._command = command
        self._limits = limits
        self._make = read
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._closed = False

    def pids(self) -> list[int]:
        """The processes that there are now."""
        with self._lock:
            return [child.pid for child in (*self._idle, *self._busy)]

    def warm_up(self) -> None:
        """Start a process, so that the first question doesn't wait for it.

        Raises OSError if none can be started.
        """
        if not self.pids():
            with contextlib.suppress(Died):
                self._returned(self._borrowed())

    def ask(self, kind: str, payload: Payload) -> T:
        """The answer to a question. Raises Refused; OSError when no process can be started."""
        try:
            return self._tried(kind, payload)
        except Died:
            pass
        try:
            # Once more: what ended the first may have come from outside.
            return self._tried(kind, payload)
        except Died:
            raise Refused("crash") from None

    def _tried(self, kind: str, payload: Payload) -> T:
        child = self._borrowed()
        try:
            # A compromised child may write anything: only what can be an answer is
            # believed.
            answer = self._read(child, kind, payload)
        except Refused:
            self._returned(child)
            raise
        except BaseException:
            self._returned(child, usable=False)
            raise
        self._returned(child)
        return answer

    def _read(self, child: _Child, kind: str, payload: Payload) -> T:
        head, data = child.ask(kind, payload)
        try:
            return self._make(head, data)
        except (ValueError, KeyError, TypeError):
            raise Died from None

    def _borrowed(self) -> _Child:
        child = self._next_idle()
        if child is None:
            child = _Child(self._command, self._limits)
        with self._lock:
            self._busy.add(child)
            if not self._closed:
                return child
        self._returned(child)
        raise Died

    def _next_idle(self) -> _Child | None:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive():
                    return child
                child.close()
        return None

    def _returned(self, child: _Child, usable: bool = True) -> None:
        with self._lock:
            self._busy.discard(child)
            if usable and child.left > 0 and child.alive() and not self._closed:
                child.idle_since = time.monotonic()
                self._idle.append(child)
                return
        child.close()

    def close_idle(self, after_s: float) -> None:
        """End the processes that have had no question for so long."""
        until = time.monotonic() - after_s
        with self._lock:
            old = [child for child in self._idle if child.idle_since <= until]
            self._idle = [child for child in self._idle if child not in old]
        for child in old:
            child.close()

    def close(self) -> None:
        """End all processes; a call in progress raises Refused."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for child in self._busy:
                child.kill()  # The thread that uses it sees the end of the pipe, and closes it.
        for child in idle:
            child.close()
