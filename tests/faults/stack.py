"""The service as separate processes, each of which can be killed, frozen, stopped and started
again.

Real Redis, real workers with the echo backend, real API processes. Knows no test and no invariant.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from api.registry import read_status as decode_status
from mlxq.service.embedded_redis import EmbeddedRedis
from mlxq.service.launch import reserved_port
from tests.support.http_client import LIMIT_S
from tests.support.paths import ROOT
from wire import keys
from wire.processes import parent_process
from wire.redis_server import connect_once

_POLL_S = 0.02
WORKER = ("-m", "worker")
API = ("-m", "api")
Process = subprocess.Popen[bytes]


async def until(
    condition: Callable[[], object], limit_s: float = LIMIT_S, what: str = "it"
) -> float:
    """Wait until something holds; returns how long that took."""
    began = time.monotonic()
    while True:
        with suppress(RedisError, OSError):
            if condition():
                return time.monotonic() - began
        assert time.monotonic() - began < limit_s, f"timed out waiting for {what}"
        await asyncio.sleep(_POLL_S)


class Stack:
    """Processes by name: workers have a data folder each, API processes a port each, kept over
    restarts."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.server = EmbeddedRedis(folder)
        self.server.open()
        self.redis: Redis = connect_once(self.server.url, 5.0)
        self.processes: dict[str, Process] = {}
        self._settings = {"MLXQ_BACKEND": "echo", "MLXQ_ECHO_DELAY_MS": "20", **settings}
        self._ports: dict[str, int] = {}
        self._reserved = ExitStack()
        self.losses = 0
        """How often Redis has lost data: what it held before may be gone, or written again."""
        self._lifeline, self._our_end = os.pipe()

    # --- starting ---------------------------------------------------------------------------------

    def start_worker(
        self,
        name: str = "worker",
        command: Sequence[str] = WORKER,
        root: Path = ROOT,
        **settings: str,
    ) -> Process:
        """Start a worker; ``command`` may put another program in its place, ``root`` other code."""
        return self._start(name, command, root, {"MLXQ_DATA": str(self.folder / name), **settings})

    def start_api(self, name: str = "api", root: Path = ROOT, **settings: str) -> Process:
        address = {"MLXQ_PORT": str(self.port(name)), "MLXQ_HOST": "127.0.0.1"}
        return self._start(name, API, root, {**address, **settings})

    def port(self, name: str = "api") -> int:
        if name not in self._ports:
            self._ports[name] = self._reserved.enter_context(reserved_port("127.0.0.1", 0))
        return self._ports[name]

    def _start(
        self, name: str, command: Sequence[str], root: Path, settings: dict[str, str]
    ) -> Process:
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith("MLXQ_") and k != "REDIS_URL"
        }
        ours = {
            "MLXQ_REDIS_URL": self.server.url,
            parent_process.VARIABLE: str(self._lifeline),
            "PYTHONPATH": str(root),
        }
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *command],
                cwd=root,  # -m looks there first.
                env={**clean, **self._settings, **settings, **ours},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._lifeline,),
                start_new_session=True,
            )
        return self.processes[name]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    async def worker_ready(self, name: str = "worker") -> float:
        return await until(lambda: self.processes[name].pid in self.workers(), what=f"{name}")

    async def api_ready(self, name: str = "api") -> float:
        return await until(lambda: self._healthy(self.port(name)), what=f"{name}")

    def _healthy(self, port: int) -> bool:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200

    def workers(self) -> dict[int, str]:
        """The names of the workers whose status is alive, by process id."""
        names = [name.decode() for name in self.redis.smembers(keys.WORKERS)]  # type: ignore[union-attr]
        records = [self.redis.get(keys.worker_status(name)) for name in names]
        return {
            status.pid: status.name for value in records if value for status in decode_status(value)
        }  # type: ignore[arg-type]

    # --- faults ----------------------------------------------------------------------------------

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """End a process and take its status."""
        self.processes[name].send_signal(number)
        return self.processes[name].wait(LIMIT_S)

    def kill_redis(self) -> None:
        assert self.server.process is not None
        self.server.process.kill()
        self.server.process.wait()

    async def start_redis(self, *, empty: bool = False, lost_bytes: int = 0) -> None:
        """Restart Redis: with its data, empty, or without the last bytes of its file."""
        self.losses += bool(empty or lost_bytes)
        if empty:
            shutil.rmtree(self.server.folder / "appendonlydir")
        elif lost_bytes:
            log = self._redis_log()
            os.truncate(log, max(0, log.stat().st_size - lost_bytes))
        self.server.launch()
        await until(self.redis.ping, what="Redis")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """With all processes but Redis stopped."""
        running = [process for name, process in self.processes.items() if self.runs(name)]
        for process in running:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in running:
                process.send_signal(signal.SIGCONT)

    def bytes_since(self, text: bytes) -> int:
        """How many bytes Redis' file has from the last place of a text on."""
        written = self._redis_log().read_bytes()
        return len(written) - written.rindex(text)

    def _redis_log(self) -> Path:
        kept = self.server.folder / "appendonlydir"
        return max(kept.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)

    def flush_redis(self) -> None:
        self.losses += 1
        self.redis.flushall()

    # --- the end ----------------------------------------------------------------------------------

    def runs(self, name: str) -> bool:
        return name in self.processes and self.processes[name].poll() is None

    def close(self) -> None:
        """End all processes and close all connections."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self.redis.close()
        self.server.close()
        self._reserved.close()
        os.close(self._our_end)
        os.close(self._lifeline)
