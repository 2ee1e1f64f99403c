"""The whole service on a Redis that refuses writes: clients get an error at once, chats wait, and
all recovers by itself."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from mlxq.service.embedded_redis import find_server
from tests.support.api_support import wait_for
from tests.support.http_client import Service
from tests.support.service_support import SERVE, Running
from wire.redis_refusals import kind
from worker.backends.echo import answer

TOLD_WITHIN_S = 2.0
TOKENS, SEED = 150, 7
"""Three seconds' tokens."""


class Stack:
    """A Redis for this test, and the service on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        flags = [
            "--port",
            "0",
            "--unixsocket",
            f"{folder}/s",
            "--dir",
            str(folder),
            "--save",
            "3600 1",
        ]
        self._server = subprocess.Popen(
            [find_server(), *flags, "--appendonly", "yes"], cwd=folder, stdout=subprocess.DEVNULL
        )
        url = f"unix://{folder}/s"
        self.redis = Redis.from_url(url)
        wait_for(self._answers)
        settings = {"MLXQ_BACKEND": "echo", "MLXQ_ECHO_DELAY_MS": "20", "MLXQ_REDIS_URL": url}
        self.running = Running(SERVE, folder / "data", **settings)
        self.http = Service(self.running.line("Ready: ").removeprefix("Ready: "))

    def _answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except RedisError:
            return False

    def snapshot(self) -> None:
        self.redis.bgsave()  # type: ignore[no-untyped-call]
        wait_for(lambda: not self.redis.info("persistence")["rdb_bgsave_in_progress"])  # type: ignore[index]

    @contextmanager
    def worker_frozen(self) -> Iterator[None]:
        [worker] = [
            process
            for process in self.running.descendants()
            if process.is_running() and process.cmdline()[-1] == "worker"
        ]
        worker.suspend()
        try:
            yield
        finally:
            worker.resume()

    def close(self) -> None:
        self.running.close()
        self.redis.close()
        self._server.kill()
        self._server.wait()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("r"))
    yield stack
    stack.close()


def misconf(stack: Stack, on: bool) -> None:
    """Make snapshots fail, as on a full disk: a folder has the file's name."""
    place = stack.folder / "dump.rdb"
    if on:
        place.unlink(missing_ok=True)
        place.mkdir()
    else:
        place.rmdir()
    stack.snapshot()


def no_replicas(stack: Stack, on: bool) -> None:
    stack.redis.config_set("min-replicas-to-write", int(on))


def read_only(stack: Stack, on: bool) -> None:
    stack.redis.replicaof(*("127.0.0.1", "1") if on else ("NO", "ONE"))


WAYS: dict[str, tuple[Callable[[Stack, bool], None], str]] = {
    "MISCONF": (misconf, "redis_full"),
    "NOREPLICAS": (no_replicas, "redis_unavailable"),
    "READONLY": (read_only, "redis_unavailable"),
}


def refused(stack: Stack) -> str:
    """The server's reply to a write; empty if it succeeds."""
    try:
        stack.redis.set("a", 1)
    except RedisError as error:
        return kind(error)
    return ""


def call_within_limit(stack: Stack, method: str, path: str, body: object = None) -> tuple[int, Any]:
    began = time.monotonic()
    response = stack.http.call(method, path, body)
    assert time.monotonic() - began < TOLD_WITHIN_S
    return response


@pytest.mark.parametrize("name", WAYS)
def test_a_redis_that_refuses_to_write_is_reported_and_waited_out(stack: Stack, name: str) -> None:
    refuse, code = WAYS[name]
    running = stack.http.chat("one two three", model="echo", max_tokens=TOKENS, seed=SEED)
    running.until(1)
    with stack.worker_frozen():  # Most of the chat is left for the time of the refusals.
        refuse(stack, True)
    try:
        wait_for(lambda: refused(stack) == name)
        chat = {"model_id": "echo", "messages": [{"role": "user", "content": "hello"}]}
        status, body = call_within_limit(stack, "POST", "/api/engine/chat", chat)
        assert (status, body["code"]) == (503, code)
        status, body = call_within_limit(stack, "GET", "/ready")
        assert (status, body["code"]) == (503, code)
        # so that the worker writes more of the running chat
        for logger in ("api.errors", "worker.jobs.event_writer"):
            while name not in stack.running.line(f'{{"level": "WARNING", "logger": "{logger}"'):
                pass
    finally:
        refuse(stack, False)
    assert running.rest() == answer("one two three", SEED, TOKENS)
    assert [frame["done"] for frame in running.frames].count(True) == 1
    wait_for(lambda: stack.http.call("GET", "/ready")[0] == 200)
    assert stack.http.chat("hello", model="echo", max_tokens=3, seed=SEED).rest() == answer(
        "hello", SEED, 3
    )
