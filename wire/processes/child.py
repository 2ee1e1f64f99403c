"""A child of the pool: it limits itself, then answers one question after another by its pipes.

Imports the standard library alone: whatever this file imports, every child has in memory. A
question is a line ``kind 1234`` and that many bytes; the answer is a line of JSON, with a
``length`` and that many bytes, or ``{"refused": "reason"}``; ``last`` in it says that the child
ends now. A child ends with the pipe it reads, thus with its parent, however that ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO

Head = dict[str, object]
NICE = 5
"""Running streams come first."""


def run(
    answer: Callable[[str, bytes], tuple[Head, bytes]],
    warm_up: Callable[[], None],
    memory: int,
    limit_time: Callable[[], None],
) -> None:
    """Import what is needed, give up all rights, and answer until the parent closes the pipe.

    ``limit_time`` bounds one question; the alarm that it sets is cleared after the answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent handles Ctrl-C.
    os.nice(NICE)
    warm_up()
    lock_down(memory)
    serve(answer, limit_time, sys.stdout.buffer)


def lock_down(memory: int) -> None:
    """From here on: bounded memory, and no file, socket or core dump.

    macOS enforces all of these but the bound on memory, so the parent watches that as well.
    """
    limits = {"RLIMIT_AS": memory, "RLIMIT_NOFILE": 3, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, most in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (most, most))


def serve(
    answer: Callable[[str, bytes], tuple[Head, bytes]],
    limit_time: Callable[[], None],
    answers: BinaryIO,
    is_worn: Callable[[], bool] = lambda: False,
) -> None:
    """Answer until the parent closes the pipe, or until ``is_worn`` holds after an answer: a fresh
    process answers the next question then."""
    try:
        _serve(answer, limit_time, answers, is_worn)
    except BrokenPipeError:
        sys.exit(1)


def _serve(
    answer: Callable[[str, bytes], tuple[Head, bytes]],
    limit_time: Callable[[], None],
    answers: BinaryIO,
    is_worn: Callable[[], bool],
) -> None:
    questions = sys.stdin.buffer
    while line := questions.readline(64):
        kind, length = line.decode("ascii").split()
        limit_time()
        try:
            head, data = answer(kind, questions.read(int(length)))
        except MemoryError:
            head, data = {"refused": "memory"}, b""
        signal.alarm(0)
        is_last = head.get("refused") == "memory" or is_worn()
        if is_last:
            head = head | {"last": True}
        answers.write(json.dumps(head).encode("ascii") + b"\n")
        answers.write(data)
        answers.flush()
        if is_last:
            return
