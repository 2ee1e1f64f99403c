"""Fifty long prompts counted at once don't hold up the streams of the same process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from fastapi import Request

from api.auth.caller import CallerOf
from api.chat.request import ChatSpec
from api.deps import find_service
from api.http.body_routes import DataUrlsOf
from api.images.draft import DraftMessage
from api.jobs.policy import Policy
from api.serving.token_counter import CHILDREN, TokenCounter
from mlxq.service.embedded_redis import EmbeddedRedis
from tests.integration.streams.served_api import Running, serving, text
from tests.support.api_support import announce, wait_for
from wire.messages import Sampling
from wire.model_registry import ModelRecord, Registry
from worker.models.folders import DEMO_MODELS, describe

AT_ONCE = 50
STALL_S = 0.05
"""What a long prompt may hold up others for, as promised."""
PROMPT = "the quick brown fox jumps over the lazy dog and nobody knows why it does. " * 800
"""More than 20,000 tokens of the shipped model."""
FRAMES, BEAT_S = 150, 0.005


def demo() -> ModelRecord:
    record = describe(DEMO_MODELS / "chat", name="demo")
    assert record is not None
    return record.model_copy(update={"context_window": 1 << 20})


async def count(request: Request, urls: DataUrlsOf, caller: CallerOf) -> int:
    """A route as APIs have it, of a prompt that is always the same."""
    request.app.state.loop = asyncio.get_running_loop()
    drafts = [DraftMessage("user", (PROMPT,))]
    spec = ChatSpec(drafts, Sampling(seed=1), Policy("cancel"))
    return await find_service(request.app, TokenCounter).count(spec, demo(), urls, caller)


@pytest.fixture
def api(store: EmbeddedRedis) -> Iterator[Running]:
    with serving(store.url) as running:
        announce(running.redis)
        Registry(running.redis).put(demo())
        running.app.add_api_route("/count", count, methods=["POST"])
        # Before the pages, which are looked for last.
        running.app.router.routes.insert(0, running.app.router.routes.pop())
        yield running


class Beats:
    """Looks from a server's loop how much its whole process computes while the loop waits for its
    turn: unlike the time on the clock, that says the same on a busy machine."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.over = threading.Event()

    async def run(self) -> None:
        while not self.over.is_set():
            due, before = time.monotonic() + BEAT_S, time.process_time()
            await asyncio.sleep(BEAT_S)
            if time.monotonic() > due:
                self.longest = max(self.longest, time.process_time() - before)


CLIENTS = """
import asyncio, json, sys
import httpx2

async def counted(url, times):
    async with httpx2.AsyncClient(timeout=300, limits=httpx2.Limits(max_connections=None)) as client:
        answers = await asyncio.gather(*(client.post(url) for _ in range(times)))
    return [answer.json() for answer in answers]

print(json.dumps(asyncio.run(counted(sys.argv[1], int(sys.argv[2])))))
"""
"""A process of their own: what clients compute is not the server's."""


def counting(api: Running, times: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CLIENTS, f"{api.url}/count", str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def counts(clients: subprocess.Popen[str]) -> list[int]:
    output, _ = clients.communicate(timeout=300)
    return list(json.loads(output))


@contextmanager
def no_turn(api: Running) -> Iterator[None]:
    """Nothing is counted during the block: a busy client may take longer to ask for all than the
    first of them take."""
    turns, loop = counter_of(api)._turns, api.app.state.loop

    async def change(begin: bool) -> None:
        for borrower in range(CHILDREN):
            if begin:
                turns.acquire_on_behalf_of_nowait(borrower)
            else:
                turns.release_on_behalf_of(borrower)

    asyncio.run_coroutine_threadsafe(change(begin=True), loop).result()
    yield
    asyncio.run_coroutine_threadsafe(change(begin=False), loop).result()


def test_fifty_counts_at_once_do_not_hold_up_a_stream(api: Running) -> None:
    (whole,) = counts(counting(api, 1))
    assert whole > 20_000
    stream, beats = api.chat(), Beats()
    writer = api.writer(stream.job_id)
    with no_turn(api):
        clients = counting(api, AT_ONCE)
        wait_for(lambda: counter_of(api).waiting == AT_ONCE)
    beating = asyncio.run_coroutine_threadsafe(beats.run(), api.app.state.loop)
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(stream.rest)
        for number in range(FRAMES):
            writer.text(f"{number} ")
        writer.finish()
        assert text(reading.result()) == "".join(f"{number} " for number in range(FRAMES))
    # The stream has ended while prompts are still being counted.
    assert counter_of(api).waiting > 0
    assert counts(clients) == [whole] * AT_ONCE
    beats.over.set()
    beating.result()
    assert beats.longest < STALL_S


def counter_of(api: Running) -> TokenCounter:
    return find_service(api.app, TokenCounter)
