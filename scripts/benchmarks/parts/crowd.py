"""Many streaming clients against the echo backend: how late tokens arrive, and what a stream costs.

The tokens are the times at which they were generated, so that a client on the same machine can tell
each one's latency through engine, log, Redis, API and its own socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop
from redis import Redis

from mlxq.service.embedded_redis import EmbeddedRedis
from scripts.benchmarks.systems import processes, variants
from scripts.benchmarks.systems.client import Stream, http_post, send
from scripts.benchmarks.systems.plan import BenchError
from scripts.benchmarks.systems.processes import Child
from scripts.benchmarks.systems.variants import STAMPED_WORKER
from scripts.benchmarks.table import table

TOKENS_PER_SECOND = 20
ARRIVALS_PER_SECOND = 50
"""A new client every 20 ms. Each submission costs milliseconds of processor time, here and in
the service."""
TOGETHER_S = 20
"""How long all of them stream at the same time: what is measured."""
MOST = 1000
"""Slots that a worker has at most, less some room."""
WARM_UP = 20
"""Streams before the measurement, so that connections and caches exist."""
_TEXT = re.compile(rb'"text": "([\d ]+)"')
"""The text of a frame: a stamp, or several that came together."""
_END = b'"done": true'


@dataclass(frozen=True, slots=True)
class Crowd:
    """The results. Times in seconds; ``late`` of each token that came while all clients were there,
    sorted."""

    clients: int
    first_frames: list[float]
    late: list[float]
    dropped: int
    rate: float
    redis_connections: int
    bytes_per_stream: float
    busy: dict[str, float]
    """Processor time of each process over the time, while all clients were there; 1 is a whole
    core."""


class _Watched:
    """The processes of the service, and how busy they are."""

    def __init__(self, child: Child, redis: Redis) -> None:
        self._redis = redis
        found = psutil.Process(child.pid).children(recursive=True)
        self._processes = {name: p for p in found if (name := _name(p))}
        self.api = self._processes["API"]

    def cpu(self) -> dict[str, float]:
        used = {name: sum(p.cpu_times()[:2]) for name, p in self._processes.items()} | {
            "client": time.process_time()
        }
        machine = psutil.cpu_times()
        return used | {
            "others": sum(machine)
            - machine.idle
            - getattr(machine, "iowait", 0.0)
            - sum(used.values())
        }

    def memory(self) -> int:
        return int(self.api.memory_full_info().uss)

    def connections(self) -> int:
        """Connections to Redis, without our own."""
        return len(self._redis.client_list()) - 1


def _name(process: psutil.Process) -> str:
    command = process.cmdline()
    if command[-2:] == ["-m", "api"]:
        return "API"
    if command[-1:] == [STAMPED_WORKER]:
        return "worker"
    return "Redis" if "valkey" in command[0] or "redis" in command[0] else ""


def measure(clients: int, folder: Path) -> Crowd:
    """Start the service, let the clients come, stop it."""
    _allow_descriptors(clients + 200)
    flags = {
        "--port": "0",
        "--data": str(folder / "data"),
        "--backend": "echo",
        "--echo-delay-ms": f"{1000 / TOKENS_PER_SECOND:g}",
        "--slots": str(min(1024, clients + WARM_UP)),
        "--log-level": "warning",
    }
    command = processes.python(
        variants.MODULE,
        "stamped-service",
        *[word for pair in flags.items() for word in pair],
    )
    with processes.running(command, processes.environment(), folder / "crowd.log") as child:
        port = int(child.line("Ready: ").rsplit(":", 1)[1])
        with Redis.from_url(EmbeddedRedis(folder / "data").url) as redis, _no_collections():
            return uvloop.run(_run(clients, port, _Watched(child, redis)))


async def _run(clients: int, port: int, watched: _Watched) -> Crowd:
    for stream in [await send(port, _request(5)) for _ in range(WARM_UP)]:
        await stream.bytes()
    before = watched.memory()
    tokens = int((clients / ARRIVALS_PER_SECOND + TOGETHER_S) * TOKENS_PER_SECOND)
    streams = await _arrive(clients, port, tokens)
    await asyncio.gather(*(stream.frames(1) for stream in streams[-ARRIVALS_PER_SECOND:]))
    since, cpu = time.perf_counter(), watched.cpu()
    await asyncio.sleep(TOGETHER_S / 2)
    bytes_per_stream, connections = (watched.memory() - before) / clients, watched.connections()
    await asyncio.sleep(TOGETHER_S / 2 - 2)
    until = time.perf_counter()
    busy = {name: (used - cpu[name]) / (until - since) for name, used in watched.cpu().items()}
    read = [_Read(stream, await stream.bytes()) for stream in streams]
    late = sorted(late for one in read for at, late in one.tokens if since <= at <= until)
    return Crowd(
        clients=clients,
        first_frames=sorted(one.first for one in read),
        late=late,
        dropped=sum(not one.whole(tokens) for one in read),
        rate=len(late) / (until - since) / clients,
        redis_connections=connections,
        bytes_per_stream=bytes_per_stream,
        busy=busy,
    )


async def _arrive(clients: int, port: int, tokens: int) -> list[Stream]:
    """One client after another; all of them stay."""
    request, began = _request(tokens), time.perf_counter()
    coming = []
    for number in range(clients):
        coming.append(asyncio.create_task(send(port, request)))
        await asyncio.sleep(
            max(0.0, began + (number + 1) / ARRIVALS_PER_SECOND - time.perf_counter())
        )
    return list(await asyncio.gather(*coming))


def _request(tokens: int) -> bytes:
    body = {
        "model_id": "echo",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": tokens,
    }
    return http_post("/api/engine/chat", body)


class _Read:
    """One stream, read after its end."""

    def __init__(self, stream: Stream, received: bytes) -> None:
        if not received.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"the service refused a client: {received[:300]!r}")
        self.tokens: list[tuple[float, float]] = []
        self._ends = received.count(_END)
        for at, data in stream.chunks:
            stamps = b" ".join(_TEXT.findall(data)).split()
            self.tokens += [(at, at - int(stamp) / 1e6) for stamp in stamps]
        self.first = self.tokens[0][0] - stream.sent if self.tokens else float("inf")

    def whole(self, tokens: int) -> bool:
        return self._ends == 1 and len(self.tokens) == tokens


def _allow_descriptors(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        if hard != resource.RLIM_INFINITY and hard < number:
            raise BenchError(f"{number} open files are needed and {hard} allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """The client keeps everything it receives: garbage collection would only delay it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def report(crowd: Crowd) -> str:
    """The results as a table, with targets."""
    first, late = crowd.first_frames, crowd.late
    kib = crowd.bytes_per_stream / 1024
    connections = crowd.redis_connections
    on_the_way = (p(late, 50), p(late, 95), p(late, 99), late[-1])
    rows = [
        ["streams that did not end well", f"{crowd.dropped}", "0", _met(crowd.dropped == 0)],
        [
            "first frame with text after, p50 / p99 / longest, s",
            f"{p(first, 50):.2f} / {p(first, 99):.2f} / {first[-1]:.2f}",
            "≤ 2 s",
            _met(first[-1] <= 2),
        ],
        [
            "a token on its way, p50 / p95 / p99 / longest, ms",
            " / ".join(f"{1000 * value:.0f}" for value in on_the_way),
            "p99 ≤ 150 ms",
            _met(p(late, 99) <= 0.15),
        ],
        [
            "tokens per second of a stream",
            f"{crowd.rate:.1f}",
            f"{TOKENS_PER_SECOND}",
            _met(crowd.rate >= 19),
        ],
        ["connections to Redis", f"{connections}", "≤ 20", _met(connections <= 20)],
        ["memory of the API a stream, KiB", f"{kib:.1f}", "≤ 40", _met(kib <= 40)],
        [
            "cores busy",
            ", ".join(f"{name} {share:.2f}" for name, share in crowd.busy.items()),
            "–",
            "–",
        ],
    ]
    return table(["", "measured", "target", "met"], rows)


def method(clients: int) -> list[str]:
    """What was measured and how, in sentences."""
    return [
        f"{clients:,} clients of one API process and one worker, whose echo backend makes "
        f"{TOKENS_PER_SECOND} tokens a "
        "second for each; Redis, worker, API and clients share the machine",
        f"{ARRIVALS_PER_SECOND} clients arrive each second and stay; measured over "
        f"{TOGETHER_S - 2} s with all of them",
        "Each token's text is the time at which the engine made it: the way leads through the "
        "token log, Redis, the "
        "API and the client's socket, and the client's own lateness counts as ours",
    ]


def p(ordered: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile of sorted values."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else float("inf")


def _met(yes: bool) -> str:
    return "yes" if yes else "**no**"
