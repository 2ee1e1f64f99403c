"""Batches of prompts through killed, stopped and hung workers: each line has one result, and the right one."""

from __future__ import annotations

import asyncio
import random
import signal

from tests.faults.batches import Batch, prompts
from tests.faults.checker import Checker
from tests.faults.client import Chat
from tests.faults.scenes import streamed
from tests.faults.stack import Stack, until
from wire import keys
from worker.backends.echo import DEADLY
from worker.blame import MOST_CRASHES


async def keep(stack: Stack, batch: Batch, deaths: list[int]) -> None:
    """Start the worker again whenever it has died, until the batch has ended."""
    while not batch.ended():
        if (status := stack.processes["worker"].poll()) is not None:
            deaths.append(status)
            stack.start_worker()
        await asyncio.sleep(0.05)


def open_batches(stack: Stack) -> int:
    return int(stack.redis.zcard(keys.BATCHES_OPEN)) + int(stack.redis.llen("rq:queue:batch"))  # type: ignore[arg-type]


def test_two_kills_lose_no_line_and_repeat_none(stack: Stack, rng: random.Random, long: bool) -> None:
    count = 10_000 if long else 1000
    batch = Batch(stack.port(), prompts("killed", count, max_tokens=16))
    at = sorted(rng.sample(range(count // 10, count * 9 // 10), 2))

    async def kill() -> None:
        for place in at:
            await until(lambda place=place: batch.done() >= place, 600, "progress")
            stack.kill("worker")
            kept = {row["custom_id"] for row in batch.results()}
            stack.start_worker()
            await until(lambda kept=kept: batch.done() > len(kept), what="going on")
            assert kept <= {row["custom_id"] for row in batch.results()}
        await until(batch.ended, 600, "the end")

    asyncio.run(kill())
    assert (batch.wrong(), batch.missing(), batch.state()["status"]) == ([], set(), "completed")
    assert batch.state()["counts"]["done"] == count
    assert open_batches(stack) == 0


def test_a_line_that_kills_its_workers_fails_alone_and_a_chat_beside_it_finishes(
    stack: Stack, checker: Checker
) -> None:
    rows = prompts("good", 40, max_tokens=12)
    rows[20]["prompt"] = f"{DEADLY} now"
    chat = Chat("an innocent chat", tokens=60)
    batch = Batch(stack.port(), rows)
    deaths: list[int] = []
    asyncio.run(streamed(stack, [chat], keep(stack, batch, deaths)))
    assert checker.judge([chat]) == []
    assert batch.wrong({"good-20": "gave_up_after_crashes"}) == []
    assert batch.missing() == set()
    assert batch.state()["counts"] == {"total": 40, "done": 39, "failed": 1, "cancelled": 0, "left": 0}
    assert deaths == [-signal.SIGKILL] * MOST_CRASHES


def test_a_stopped_worker_hands_its_lines_back_and_another_goes_on(stack: Stack) -> None:
    batch = Batch(stack.port(), prompts("handed", 200, max_tokens=40))

    async def stop() -> None:
        await until(lambda: batch.done() > 20, what="progress")
        stack.start_worker("second")
        await stack.worker_ready("second")
        assert stack.kill("worker", signal.SIGTERM) == 0
        await until(batch.ended, what="the end")

    asyncio.run(stop())
    assert (batch.wrong(), batch.missing()) == ([], set())


def test_two_workers_share_a_batch_and_a_cancel_reaches_both(stack: Stack) -> None:
    batch = Batch(stack.port(), prompts("shared", 4000, max_tokens=60))

    def executions() -> set[bytes]:
        started = stack.redis.zrange("rq:wip:batch", 0, -1)
        return {stack.redis.hget(f"rq:execution:{member.decode()}", "worker_name") for member in started}

    async def share() -> None:
        stack.start_worker("second")
        await stack.worker_ready("second")
        await until(lambda: len(executions() - {None}) == 2, what="two workers on one batch")
        await until(lambda: batch.done() > 0, what="results")
        batch.cancel()
        await until(batch.ended, what="the end")

    asyncio.run(share())
    told = batch.state()
    assert told["status"] == "cancelled"
    assert told["counts"]["done"] == len(batch.results()) > 0
    assert told["counts"]["cancelled"] == 4000 - told["counts"]["done"]
    assert batch.wrong() == []
    assert open_batches(stack) == 0


def test_redis_restarted_in_the_middle_costs_no_line(stack: Stack) -> None:
    batch = Batch(stack.port(), prompts("restarted", 600, max_tokens=16))

    async def restart() -> None:
        await until(lambda: batch.done() > 50, what="progress")
        stack.kill_redis()
        await asyncio.sleep(1.0)
        await stack.start_redis()
        await until(batch.ended, what="the end")

    asyncio.run(restart())
    assert (batch.wrong(), batch.missing(), batch.state()["status"]) == ([], set(), "completed")
