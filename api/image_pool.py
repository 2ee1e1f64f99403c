"""The processes that open images: at most two, started with the first image, replaced when they die or have done much.

Blocking, for threads. Knows what a child answers and nothing of requests or Redis.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

CHILDREN = 2
COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("image_child.py")))
# Nothing else of the environment: it holds addresses and keys, and a decoder has use for none.
_ENVIRONMENT = ("PATH", "PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
LIMIT_S = 10.0
"""Time for one image; the largest allowed take two or three seconds."""
IMAGES_EACH = 200
"""A child is replaced after this many images, whatever a decoder may have leaked."""
MEMORY = 1 << 30
"""A child that occupies more is killed. On Linux its own limit comes first; macOS enforces none on address space."""
MOST_ANSWER = 16 << 20
"""A picture of the stored size takes 12.6 MB when it can't be compressed at all."""
_LOOK_MS = 50
_LINE = 200
_PIECE = 1 << 18
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Picture:
    """A clean PNG and its size in pixels."""

    width: int
    height: int
    data: bytes


class ImageRefused(Exception):
    """The image is no good; the text is the child's one-word reason, ``time`` or ``crash``."""


class _Died(Exception):
    """The child ended in the middle."""


class _Child:
    """One process. A call that raises anything but ImageRefused leaves it unusable: close it."""

    def __init__(self, command: Sequence[str]) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a decoder's complaints may quote the image
            env=environment,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._input.fileno(), False)
        self.pid = self._process.pid
        self.left = IMAGES_EACH

    def ask(self, payload: memoryview, limit_s: float) -> Picture:
        """The picture in ``payload``. Raises ImageRefused, or _Died."""
        self.left -= 1
        until = time.monotonic() + limit_s
        try:
            self._write(memoryview(f"{len(payload)}\n".encode("ascii")), until)
            self._write(payload, until)
            return self._answer(until)
        except ImageRefused as refused:
            if str(refused) in ("time", "memory"):
                self.left = 0
            raise
        except (OSError, psutil.Error, ValueError, KeyError, TypeError):
            raise _Died from None

    def _write(self, data: memoryview, until: float) -> None:
        while data:
            self._wait(until, writing=True)
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self._input.fileno(), data[:_PIECE]) :]

    def _answer(self, until: float) -> Picture:
        received = bytearray()
        while b"\n" not in received:
            received += self._read(until)
            if len(received) > _PIECE + _LINE:
                raise _Died
        line, _, rest = received.partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        if "refused" in head:
            raise ImageRefused(str(head["refused"]))
        while len(rest) < min(head["length"], MOST_ANSWER):
            rest += self._read(until)
        # A decoder that somebody took over may say anything: only a PNG of the announced length is believed.
        if len(rest) != head["length"] or not rest.startswith(_PNG):
            raise _Died
        return Picture(int(head["width"]), int(head["height"]), bytes(rest))

    def _read(self, until: float) -> bytes:
        self._wait(until, writing=False)
        data = os.read(self._output.fileno(), _PIECE)
        if not data:
            raise _Died
        return data

    def _wait(self, until: float, writing: bool) -> None:
        """Until the pipe is ready. Raises ImageRefused for a child that takes too long or too much."""
        poll = select.poll()  # not select(): a process with a thousand streams has higher numbers than it takes
        poll.register(self._input if writing else self._output, select.POLLOUT if writing else select.POLLIN)
        while not poll.poll(_LOOK_MS):
            reason = "time" if time.monotonic() > until else ""
            if psutil.Process(self.pid).memory_info().rss > MEMORY:
                reason = "memory"
            if reason:
                self._process.kill()
                raise ImageRefused(reason)

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


class ImagePool:
    """Opens images in processes of their own, as many at once as threads call, which may be two."""

    def __init__(self, command: Sequence[str] = COMMAND, limit_s: float = LIMIT_S) -> None:
        self._command = command
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._closed = False

    def pids(self) -> list[int]:
        """The processes that there are now."""
        with self._lock:
            return [child.pid for child in (*self._idle, *self._busy)]

    def open(self, payload: memoryview) -> Picture:
        """The picture in a base64 payload. Raises ImageRefused.

        Raises OSError when no process can be started.
        """
        try:
            return self._tried(payload)
        except _Died:
            pass
        try:
            # Once more: what ended the first may have come from outside.
            return self._tried(payload)
        except _Died:
            raise ImageRefused("crash") from None

    def _tried(self, payload: memoryview) -> Picture:
        child = self._borrowed()
        try:
            picture = child.ask(payload, self._limit_s)
        except ImageRefused:
            self._returned(child)
            raise
        except BaseException:
            self._returned(child, usable=False)
            raise
        self._returned(child)
        return picture

    def _borrowed(self) -> _Child:
        child = self._next_idle()
        if child is None:
            child = _Child(self._command)
        with self._lock:
            self._busy.add(child)
            if not self._closed:
                return child
        self._returned(child)
        raise _Died

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
                self._idle.append(child)
                return
        child.close()

    def close(self) -> None:
        """End all processes; a call in progress raises ImageRefused."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for child in self._busy:
                child.kill()  # The thread that uses it sees the end of the pipe, and closes it.
        for child in idle:
            child.close()
