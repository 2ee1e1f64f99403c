"""Injects faults, and restarts processes that have ended, as a supervisor would.

Knows processes and nothing of chats.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from redis.exceptions import RedisError

from tests.faults.stack import Stack, until

WORKERS = ("worker 1", "worker 2")
APIS = ("api 1", "api 2")
CHECK_S = 0.1


class Faults:
    """Injects faults for a given time.

    ``lost`` are the times at which Redis lost its data, ``killed`` those at which it may have lost
    its last moments.
    """

    def __init__(self, stack: Stack, rng: random.Random, pace_s: float) -> None:
        self.counts: Counter[str] = Counter()
        self.lost: list[float] = []
        self.killed: list[float] = []
        self._stack = stack
        self._rng = rng
        self._pace_s = pace_s
        self._stopped = False
        self._redis_lock = asyncio.Lock()
        self._kinds: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "worker killed": (56, self._kill_worker),
            "worker stopped": (6, self._stop_worker),
            "worker frozen": (6, self._freeze_worker),
            "API killed": (12, self._kill_api),
            "API stopped": (5, self._stop_api),
            "Redis restarted": (9, self._restart_redis),
            "Redis frozen": (3, self._freeze_redis),
            "Redis full": (3, self._fill_redis),
            "Redis emptied": (1, self._empty_redis),
        }

    def port(self) -> int:
        """The port for a client's next connection: of an API process that runs, if there is one."""
        names = [name for name in APIS if self._stack.runs(name)] or list(APIS)
        return self._stack.port(self._rng.choice(names))

    async def begin(self) -> None:
        """Start all processes and wait until they are ready."""
        self._restart_ended()
        for name in WORKERS:
            await self._stack.worker_ready(name)
        for name in APIS:
            await self._stack.api_ready(name)

    async def run(self, seconds: float) -> None:
        """Inject faults for this time; all of them have ended when this returns."""
        deadline = time.monotonic() + seconds
        names = list(self._kinds)
        weights = [self._kinds[name][0] for name in names]
        async with asyncio.TaskGroup() as group:
            while (remaining := deadline - time.monotonic()) > 0:
                await asyncio.sleep(min(remaining, self._rng.expovariate(1 / self._pace_s)))
                [name] = self._rng.choices(names, weights)
                self.counts[name] += 1
                group.create_task(self._guarded(self._kinds[name][1]))

    async def supervise(self) -> None:
        """Restart processes that have ended, until :meth:`stop`."""
        while not self._stopped:
            self._restart_ended()
            await asyncio.sleep(CHECK_S)

    def stop(self) -> None:
        self._stopped = True

    async def _guarded(self, fault: Callable[[], Awaitable[None]]) -> None:
        with suppress(RedisError, ProcessLookupError):
            await fault()

    def _restart_ended(self) -> None:
        for name in WORKERS:
            if not self._stack.runs(name):
                self._stack.start_worker(name, MLXQ_DRAIN_S="2", MLXQ_HANG_S="10")
        for name in APIS:
            if not self._stack.runs(name):
                self._stack.start_api(name)

    def _signal(self, names: tuple[str, ...], number: int) -> str:
        name = self._rng.choice(names)
        if self._stack.runs(name):
            self._stack.processes[name].send_signal(number)
        return name

    async def _kill_worker(self) -> None:
        self._signal(WORKERS, signal.SIGKILL)

    async def _stop_worker(self) -> None:
        self._signal(WORKERS, signal.SIGTERM)

    async def _freeze_worker(self) -> None:
        name = self._signal(WORKERS, signal.SIGSTOP)
        frozen = self._stack.processes[name]
        await asyncio.sleep(self._rng.uniform(1, 15))
        frozen.send_signal(signal.SIGCONT)

    async def _kill_api(self) -> None:
        self._signal(APIS, signal.SIGKILL)

    async def _stop_api(self) -> None:
        self._signal(APIS, signal.SIGTERM)

    async def _restart_redis(self) -> None:
        async with self._redis_lock:
            self._stack.kill_redis()
            self.killed.append(time.monotonic())
            await asyncio.sleep(self._rng.choice([0.0, 0.2, 1.0, 3.0, 8.0]))
            await self._stack.start_redis()

    async def _freeze_redis(self) -> None:
        async with self._redis_lock:
            assert self._stack.server.process is not None
            self._stack.server.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(self._rng.uniform(0.2, 4))
            self._stack.server.process.send_signal(signal.SIGCONT)

    async def _fill_redis(self) -> None:
        async with self._redis_lock:
            self._stack.redis.config_set("maxmemory", "1mb")
            await asyncio.sleep(self._rng.uniform(0.5, 3))
            await until(lambda: self._stack.redis.config_set("maxmemory", "0"))

    async def _empty_redis(self) -> None:
        async with self._redis_lock:
            self._stack.flush_redis()
            self.lost.append(time.monotonic())
