"""A service on the echo backend, a user's environment, and commands in it: in a pipe, on a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tests.support.service_support import LIMIT_S, ROOT, SERVE, Running

MLXQ = (sys.executable, "-m", "mlxq.cli")


class Shell:
    """A service, and a user's environment."""

    def __init__(self, data: Path, hub: str) -> None:
        """``hub`` is the address of the hub that the service downloads from."""
        self.running = Running(
            SERVE,
            data,
            MLXQ_BACKEND="echo",
            MLXQ_ECHO_DELAY_MS="15",
            HF_ENDPOINT=hub,
        )
        self.url = self.running.line("Ready: ").removeprefix("Ready: ")
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MLXQ_")}
        self.environ = ours | {"MLXQ_URL": self.url, "TERM": "xterm", "PYTHONUNBUFFERED": "1"}

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        given = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        } | more
        return subprocess.Popen([*MLXQ, *arguments], cwd=ROOT, env=self.environ, text=True, **given)

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, stdin=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=LIMIT_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def running_jobs(self, count: int) -> list[str]:
        """The ids that `mlxq ps` shows, once there are so many: workers publish their jobs once a
        second."""
        for _ in range(int(LIMIT_S)):
            running = json.loads(self.run("ps", "--json").stdout)["running"]
            if len(running) == count:
                return [row["job_id"] for row in running]
        raise AssertionError(f"there were never {count} running jobs")


def wait_until(condition: Callable[[], object]) -> None:
    """Poll until another process has written it."""
    ticks = threading.Event()
    for _ in range(int(LIMIT_S * 50)):
        if condition():
            return
        ticks.wait(0.02)
    raise AssertionError("the text was not written in time")


def read_until(pipe: IO[str], text: str) -> str:
    """Read a child's pipe up to a text; blocks until the text is there.

    Reads the descriptor itself: what a buffered reader has taken in, ``communicate`` never sees.
    """
    seen = b""
    while text.encode() not in seen:
        piece = os.read(pipe.fileno(), 1)
        assert piece, f"{text!r} never came: {seen.decode()!r}"
        seen += piece
    return seen.decode()


def without_notes(seen: str) -> str:
    """The text that stays on the screen: temporary text behind it is erased."""
    kept = re.sub(r"\x1b7[^\x1b]*\x1b8\x1b\[J", "", seen)
    assert "\x1b" not in kept
    return kept


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, shell: Shell, *command: str, term: str = "dumb") -> None:
        """``term``: one that is not dumb has Markdown rendered and thinking dimmed."""
        ours, theirs = pty.openpty()
        shell.environ["TERM"] = term
        self.process = shell.start(*command, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.raw = io.FileIO(ours, "r+")

    def until(self, text: str) -> str:
        """The output up to a text; blocks until the text is there."""
        seen = b""
        while text.encode() not in seen:
            try:
                seen += self.raw.read(1)
            except OSError as error:  # The command has ended.
                raise AssertionError(f"{text!r} never came: {seen.decode()!r}") from error
        return seen.decode()

    def say(self, line: str) -> None:
        """Type a line, and read the echo of it."""
        self.raw.write(line.encode() + b"\n")
        self.until(line + "\r\n")

    def ask(self, line: str) -> str:
        """Type a line; return the output up to the next prompt."""
        self.say(line)
        return without_notes(self.until("> ").removesuffix("> ").rstrip("\r\n"))

    def close(self) -> None:
        self.raw.close()
        self.process.kill()
        self.process.wait()


def conversation(shell: Shell, *options: str, term: str = "dumb") -> Terminal:
    terminal = Terminal(shell, "chat", "--seed", "3", *options, term=term)
    terminal.until("> ")
    return terminal
