"""Conversations on several workers: how much of their prompts is found in caches, and when first
tokens come, with and without cache-aware routing, and on one worker with the memory of all.

The echo backend keeps prompts as a model does, and its steps take a fixed time, so that workers on
one machine don't slow each other down.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from redis import Redis

from mlxq.service.embedded_redis import EmbeddedRedis
from scripts.benchmarks.cells import p50, p95
from scripts.benchmarks.systems import processes
from scripts.benchmarks.systems.client import Answer, http_post, send
from scripts.benchmarks.systems.plan import BenchError
from scripts.benchmarks.table import table
from wire.routing.told import room

WORKERS, CONVERSATIONS, TURNS, ROUNDS = 3, 30, 5, 5
SLOTS, CACHE_MB = 8, 40
"""Of one worker. The conversations are about 55 MiB: more than one has, less than all."""
STEP_MS, PREFILL_STEP, TOKENS = 10, 32, 30
SYSTEM = "You answer questions about one text after another, in few words. " * 3
SENTENCES = 9
"""Of a question, about 450 tokens; the next turn also repeats the answer."""
THINKING_S = 1.0
"""Mean pause before a question. With it about half of all slots are taken."""
START_LIMIT_S = 60.0
ONE, ROUTED, FIRST_COME = "one worker", "cache-aware", "first come, first served"
SYSTEMS = (ONE, ROUTED, FIRST_COME)


@dataclass(slots=True)
class Seen:
    """What the clients of a system saw. Times in seconds, of the turns after the first."""

    cached: int = 0
    first: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    ended: int = 0


class Service:
    """A Redis, an API and workers, which can be killed."""

    def __init__(self, folder: Path, system: str) -> None:
        self.folder = folder
        self._several = system != ONE
        share = 1 if self._several else WORKERS
        self._environ = {
            **processes.environment(),
            "MLXQ_BACKEND": "echo",
            "MLXQ_ECHO_PROMPT_CACHE": "1",
            "MLXQ_ECHO_DELAY_MS": str(STEP_MS),
            "MLXQ_PREFILL_STEP": str(PREFILL_STEP),
            "MLXQ_SLOTS": str(SLOTS * share),
            "MLXQ_PROMPT_CACHE_MB": str(CACHE_MB * share),
            "MLXQ_ECHO_CONTEXT_WINDOW": "65536",
            "MLXQ_CACHE_AWARE_ROUTING": "off" if system == FIRST_COME else "on",
            "MLXQ_LOG_LEVEL": "warning",
        }
        self.workers: list[int] = []
        self.port = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[Service]:
        self.folder.mkdir(parents=True)
        server = EmbeddedRedis(self.folder)
        server.open()
        with contextlib.ExitStack() as stack, Redis.from_url(server.url) as redis:
            stack.callback(server.close)
            self._environ["MLXQ_REDIS_URL"] = server.url
            with socket.socket() as trial:
                trial.bind(("127.0.0.1", 0))
                self.port = int(trial.getsockname()[1])
            for number in range(WORKERS if self._several else 1):
                data = {"MLXQ_DATA": str(self.folder / f"worker-{number}")}
                self.workers.append(self._start(stack, "worker", f"worker-{number}", data))
            self._start(stack, "api", "api", {"MLXQ_PORT": str(self.port)})
            _until(lambda: self._is_ready(redis))
            yield self

    def _start(
        self, stack: contextlib.ExitStack, module: str, name: str, more: dict[str, str]
    ) -> int:
        environ, log = {**self._environ, **more}, self.folder / f"{name}.log"
        command = processes.python(module)
        return stack.enter_context(processes.running(command, environ, log)).pid

    def _is_ready(self, redis: Redis) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            names = [name.decode() for name in redis.smembers("mlxq:workers")]
            routed = self._several and self._environ["MLXQ_CACHE_AWARE_ROUTING"] == "on"
            return len(names) == len(self.workers) and (
                not routed or all(redis.exists(room(name)) for name in names)
            )
        return False


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError("the service did not start")
        time.sleep(0.05)


def measure(folder: Path, rounds: int = ROUNDS) -> tuple[dict[str, Seen], int]:
    """What was seen of each system, in turn, and how many turns ended of a round in which a worker
    is killed."""
    seen = {system: Seen() for system in SYSTEMS}
    for number in range(rounds):
        for system in SYSTEMS if number % 2 == 0 else reversed(SYSTEMS):
            with Service(folder / f"{number}-{system.split()[0]}", system).running() as service:
                uvloop.run(_converse(service, number, seen[system]))
    killed = Seen()
    with Service(folder / "killed", ROUTED).running() as service:
        uvloop.run(_converse(service, rounds, killed, kills=True))
    return seen, killed.ended


async def _converse(service: Service, number: int, seen: Seen, *, kills: bool = False) -> None:
    talks = [_talk(service.port, f"{number} {one}", seen) for one in range(CONVERSATIONS)]
    everyone = asyncio.gather(*talks)
    if kills:
        while seen.ended < CONVERSATIONS * TURNS // 2:
            await asyncio.sleep(0.05)
        os.kill(service.workers[0], signal.SIGKILL)
    await everyone


async def _talk(port: int, name: str, seen: Seen) -> None:
    """One conversation, the same in every system."""
    rng = random.Random(name)
    messages = [{"role": "system", "content": SYSTEM}]
    for turn in range(TURNS):
        await asyncio.sleep(rng.expovariate(1 / THINKING_S))
        words = [f"{rng.randrange(1 << 64):x}" for _ in range(3 * SENTENCES)]
        messages.append({"role": "user", "content": " ".join(words)})
        answer = await _ask(port, messages, rng.randrange(1 << 30))
        messages.append({"role": "assistant", "content": answer.text})
        seen.ended += answer.tokens == TOKENS
        seen.cached += answer.cached_tokens
        (seen.later if turn else seen.first).append(answer.ttft)


async def _ask(port: int, messages: list[dict[str, str]], seed: int) -> Answer:
    body = {
        "model_id": "echo",
        "messages": messages,
        "max_tokens": TOKENS,
        "seed": seed,
        "stream_options": {"include_usage": True},
    }
    return await (await send(port, http_post("/api/engine/chat", body))).answer()


def report(seen: dict[str, Seen], ended: int) -> str:
    """The results as a table, with targets."""
    one = seen[ONE]
    rows = []
    for system, of in seen.items():
        times = [f"{1000 * p50(of.later):.0f} / {1000 * p95(of.later):.0f}"]
        times.append(f"{1000 * p95([*of.first, *of.later]):.0f}")
        rows.append([system, f"{of.cached:,}", f"{100 * of.cached / one.cached:.0f} %", *times])
    heads = [
        "",
        "cached tokens",
        "of one worker's",
        "TTFT from the second turn on, p50 / p95, ms",
        "of all turns, p95, ms",
    ]
    whole = CONVERSATIONS * TURNS
    return (
        f"{table(heads, rows)}\n\nWith a worker killed (SIGKILL) in the middle of a further round, "
        f"{ended} of {whole} turns ended with their whole answer."
    )


def method(rounds: int = ROUNDS) -> list[str]:
    """What was measured and how, in sentences."""
    return [
        f"{CONVERSATIONS} conversations of {TURNS} turns, on {WORKERS} workers of {SLOTS} slots "
        f"and {CACHE_MB} MiB for prompts each, and on one of {WORKERS * SLOTS} slots and "
        f"{WORKERS * CACHE_MB} MiB; {rounds} rounds, in turn, each with new processes and texts",
        f"The echo backend, at a step each {STEP_MS} ms, which reads {PREFILL_STEP} tokens of each "
        f"prompt and writes a token of each answer; {TOKENS} tokens an answer, about 450 a "
        "question, and 200 of a system prompt that all have in common",
        f"A client pauses before each question, {THINKING_S:g} s in the mean: about half of the "
        "slots are taken. Redis, workers, API and clients share the machine",
    ]
