"""RQ's command line and a service whose slots are all busy."""

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
    """RQ's command line."""
    command = [sys.executable, "-m", "rq.cli", *arguments, "--url", service.redis_url]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_S)
    return ran.stdout + ran.stderr


def worker_pid(service: RunningService) -> int:
    """The worker's process, wherever the supervisor started it."""
    [name] = service.redis.smembers(keys.WORKERS)
    return int(name.decode().split(".")[1].split("-")[0])


@contextmanager
def busy(service: RunningService) -> Iterator[list[Stream]]:
    """All slots taken."""
    streams = [service.http.chat("busy", seed=i, max_tokens=3000) for i in range(SLOTS)]
    for stream in streams:
        stream.until(1)
    try:
        yield streams
    finally:
        for stream in streams:
            service.http.call("POST", "/api/engine/chat/stop", {"job_id": stream.job_id})
            stream.rest()
