"""An API over a real uvicorn and a real Redis, and a client that reads its streams."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from redis import Redis

from api.app import create_app
from api.server import Server
from tests.support.api_support import LIMIT_S, QUEUE, LogWriter, chat_body, wait_for
from wire.settings import Settings

CHAT = "/api/engine/chat"
NEVER_S = 3600.0
"""Between keep-alive comments: they would hide from a client's limit that a frame doesn't come."""
USAGE = {"stream_options": {"include_usage": True}}
Frame = dict[str, Any]
# The dashboard uses a deprecated property of RQ's jobs.
rq_noise = pytest.mark.filterwarnings("ignore:job.exc_info is deprecated:DeprecationWarning")


@dataclass
class Running:
    """A server of the API in a thread."""

    url: str
    redis: Redis
    redis_url: str
    app: FastAPI
    server: Server
    streams: list[Stream] = field(default_factory=list)

    def chat(self, **more: object) -> Stream:
        return self._opened(Stream("POST", self.url + CHAT, json=chat_body(**more)))

    def events(self, job_id: str, **headers: str) -> Stream:
        return self._opened(Stream("GET", f"{self.url}{CHAT}/{job_id}/events", headers=headers))

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return httpx2.get(self.url + path, headers=headers, timeout=LIMIT_S)

    def _opened(self, stream: Stream) -> Stream:
        self.streams.append(stream)
        return stream

    def writer(self, job_id: str) -> LogWriter:
        """Start the job, as a worker would."""
        self.redis.lrem(QUEUE, 1, job_id)
        return LogWriter(self.redis, job_id)


class Stream:
    """A client that reads one response line by line."""

    def __init__(self, method: str, url: str, **arguments: Any) -> None:
        self._client = httpx2.Client(timeout=LIMIT_S, verify=False)
        self._context = self._client.stream(method, url, **arguments)
        self.response = self._context.__enter__()
        assert self.response.status_code == 200, self.response.read()
        self._lines = self.response.iter_lines()
        self.comments: list[str] = []

    @property
    def job_id(self) -> str:
        return str(self.response.headers["x-job-id"])

    def next(self) -> tuple[int, Frame]:
        """The next event's id and frame; StopIteration at the end."""
        sequence = -1
        for line in self._lines:
            if line.startswith(":"):
                self.comments.append(line)
            elif line.startswith("id: "):
                sequence = int(line[4:])
            elif line.startswith("data: "):
                return sequence, json.loads(line[6:])
        raise StopIteration

    def rest(self) -> list[tuple[int, Frame]]:
        frames = []
        while True:
            try:
                frames.append(self.next())
            except StopIteration:
                return frames

    def close(self) -> None:
        self._context.__exit__(None, None, None)
        self._client.close()


@contextmanager
def serving(url: str, **more: Any) -> Iterator[Running]:
    settings = Settings(
        redis_url=url,
        port=0,
        keepalive_s=more.pop("keepalive_s", NEVER_S),
        log_level="error",
        **more,
    )
    app = create_app(settings)
    server = Server(app, settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started)
    redis = Redis.from_url(url)
    running = Running(server.url, redis, url, app, server)
    try:
        yield running
    finally:
        for stream in running.streams:
            stream.close()
        server.should_exit = True
        thread.join()
        redis.close()


def text(frames: list[tuple[int, Frame]]) -> str:
    return "".join(frame["text"] for _, frame in frames)
