"""RQ's command line, and streams that keep all slots of a service busy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.http_client import Stream
from tests.support.service_support import LIMIT_S, RunningService
from wire import keys

CANARY = "xyzzy-canary"
SLOTS = 2
STREAM_OPTIONS = {"stream_options": {"include_progress": True, "include_usage": True}}


def rq(service: RunningService, *arguments: str) -> str:
    """Run RQ's command line; return its output."""
    command = [sys.executable, "-m", "rq.cli", *arguments, "--url", service.redis_url]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_S)
    return ran.stdout + ran.stderr


def worker_pid(service: RunningService) -> int:
    """The process id of the worker."""
    [name] = service.redis.smembers(keys.WORKERS)
    return int(name.decode().split(".")[1].split("-")[0])


@contextmanager
def busy(service: RunningService) -> Iterator[list[Stream]]:
    """Streams that keep all slots busy for the duration of the block."""
    streams = [service.http.chat("busy", seed=i, max_tokens=3000) for i in range(SLOTS)]
    for stream in streams:
        stream.until(1)
    try:
        yield streams
    finally:
        for stream in streams:
            service.http.call("POST", "/api/engine/chat/stop", {"job_id": stream.job_id})
            stream.rest()
