"""Fetches a model in a child process, which can be ended at any moment.

The child reads strangers' bytes and computes for seconds; streams on this process go on meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, cast

from wire.messages import ErrorCode
from wire.processes import parent_process
from wire.processes.code_path import code_path
from worker.errors import WorkerError
from worker.models.origins import Cancelled

LOOK_S = 0.2
END_S = 5.0
"""Time for a child to end after it was asked to, before it is killed."""


def run(kind: str, arguments: Sequence[str], cancelled: threading.Event) -> None:
    """Run ``python -m worker.models.fetch`` to its end.

    Raises Cancelled, and the WorkerError that the child tells.
    """
    pipe, our_end = os.pipe()
    try:
        with tempfile.TemporaryFile() as answer:
            _run(kind, arguments, cancelled, pipe, answer)
    finally:
        os.close(our_end)
        os.close(pipe)


def _run(
    kind: str, arguments: Sequence[str], cancelled: threading.Event, pipe: int, answer: IO[bytes]
) -> None:
    environment = {
        **os.environ,
        parent_process.VARIABLE: str(pipe),
        "PYTHONPATH": code_path(os.environ.get("PYTHONPATH", "")),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    # A session of its own: what the child starts ends with it.
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "worker.models.fetch", kind, *arguments],
        env=environment,
        pass_fds=(pipe,),
        stdin=subprocess.DEVNULL,
        stdout=answer,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while child.poll() is None:
            if cancelled.wait(LOOK_S):
                raise Cancelled
    finally:
        _end(child)
    if child.returncode:
        answer.seek(0)
        raise _failure(answer.read(), child.returncode)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, 15)
        with suppress(subprocess.TimeoutExpired):
            child.wait(END_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, 9)
    child.wait()


def _failure(said: bytes, status: int) -> WorkerError:
    try:
        told = json.loads(said.splitlines()[-1])
        return WorkerError(cast(ErrorCode, str(told["code"])), str(told["message"]))
    except (ValueError, KeyError, TypeError, IndexError):
        return WorkerError("internal_error", f"The download ended unexpectedly ({status}).")
