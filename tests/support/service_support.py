"""Shared by tests of the whole service: a supervisor under test, its output, and its child
processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from mlxq.service.embedded_redis import EmbeddedRedis
from tests.support.http_client import LIMIT_S, Service
from tests.support.paths import ROOT

SERVE = (sys.executable, "-m", "mlxq.service.launch")


class Running:
    """A supervisor under test: its output is read line by line, and all its descendants are ended
    with it.

    A thread reads what they print, so that none of them waits for a pipe that is full.
    """

    def __init__(
        self,
        command: Sequence[str],
        data: Path,
        *flags: str,
        limit_s: float = LIMIT_S,
        cwd: Path = ROOT,
        **environ: str,
    ) -> None:
        """``limit_s`` is how long a line may be waited for."""
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith("MLXQ_") and k != "REDIS_URL"
        }
        self.process = subprocess.Popen(
            [*command, "--data", str(data), "--port", "0", *flags],
            cwd=cwd,
            env={**clean, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.printed: list[str] = []
        self._taken, self._all_printed = 0, False
        self._limit_s = limit_s
        self._descendants: set[psutil.Process] = set()
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="output", daemon=True)
        self._reader.start()

    @property
    def seen(self) -> list[str]:
        """The lines up to the one that was asked for last."""
        return self.printed[: self._taken]

    def _read(self) -> None:
        with os.fdopen(os.dup(self.process.stdout.fileno()), errors="replace") as output:
            for text in output:
                with self._changed:
                    self.printed.append(text)
                    self._changed.notify()
        with self._changed:
            self._all_printed = True
            self._changed.notify()

    def line(self, start: str) -> str:
        """The next line with this start; blocks until it is printed or the supervisor has ended."""
        until = time.monotonic() + self._limit_s
        while (text := self._next(until)) is not None:
            if text.startswith(start):
                self.descendants()
                return text.strip()
        raise AssertionError(f"no line {start!r} in:\n{''.join(self.seen)}")

    def _next(self, until: float) -> str | None:
        """The next line; None at the end, or when it does not come in time."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._taken < len(self.printed) or self._all_printed,
                max(0.0, until - time.monotonic()),
            )
            if self._taken == len(self.printed):
                return None
            self._taken += 1
            return self.printed[self._taken - 1]

    def pid(self, part: str) -> int:
        """The process id that was printed last for a part."""
        printed = [text for text in self.seen if text.startswith(f"{part} ")]
        return int((printed[-1] if printed else self.line(f"{part} ")).split()[1])

    def descendants(self) -> set[psutil.Process]:
        if self.process.poll() is None:
            self._descendants |= set(psutil.Process(self.process.pid).children(recursive=True))
        return self._descendants

    def signal(self, number: int) -> None:
        self.descendants()
        self.process.send_signal(number)

    def status(self) -> int:
        """The exit status, after all output was read."""
        while self._next(time.monotonic() + self._limit_s) is not None:
            pass
        return self.process.wait(LIMIT_S)

    def left_over(self) -> list[psutil.Process]:
        """Processes of this service that are still running."""
        return [
            p for p in self._descendants if p.is_running() and p.status() != psutil.STATUS_ZOMBIE
        ]

    def _end_everything(self) -> None:
        """Stop the supervisor, so that it starts nothing more, then kill it and its descendants."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
            self.descendants()
            self.process.kill()
        for process in self.left_over():
            process.kill()

    def close(self) -> None:
        self._end_everything()
        self.process.wait()
        self._reader.join(LIMIT_S)
        self.process.stdout.close()


class RunningService:
    """A running service, with an HTTP client and a connection to its Redis."""

    def __init__(self, data: Path, **environ: str) -> None:
        self.running = Running(SERVE, data, MLXQ_BACKEND="echo", **environ)
        self.url = self.running.line("Ready: ").removeprefix("Ready: ")
        self.http = Service(self.url)
        self.redis_url = EmbeddedRedis(data).url
        self.redis = Redis.from_url(self.redis_url)
        self.queue = Queue("chat", connection=self.redis, serializer=JSONSerializer)

    def job(self, job_id: str) -> Job:
        return Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)

    def job_or_none(self, job_id: str) -> Job | None:
        return self.queue.fetch_job(job_id)

    def reason(self, job_id: str) -> str:
        """The reason of a failed job that RQ's pages show."""
        stored = self.redis.hget(f"rq:job:{job_id}", "exc_info")
        return zlib.decompress(stored).decode() if isinstance(stored, bytes) else ""

    def close(self) -> None:
        self.redis.close()
        self.running.close()


def wait(condition: Callable[[], Any]) -> Any:
    """Poll until the condition holds: other processes' state can't be waited for otherwise."""
    ticks, pause = threading.Event(), 0.02
    for _ in range(int(LIMIT_S / pause)):
        if result := condition():
            return result
        ticks.wait(pause)
    raise AssertionError("the condition did not hold in time")
