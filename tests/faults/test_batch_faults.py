"""Batches of prompts through killed, stopped and hung workers: each line has one result, and the
right one."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence

import pytest

from tests.faults.batches import Batch, prompts
from tests.faults.checker import Checker
from tests.faults.client import Chat
from tests.faults.running_chats import all_ended, chats, streamed
from tests.faults.stack import Stack, until
from wire import keys
from worker.backends.echo import DEADLY, DEADLY_PROMPT, HANGING_PROMPT
from worker.jobs.crashes.poison_jobs import MOST_ALONE, MOST_CRASHES, MOST_DEADLY_LINES


async def keep(
    stack: Stack, batch: Batch, deaths: list[int], some: Sequence[Chat] = (), **settings: str
) -> None:
    """Start the worker again whenever it has died, until the batch and these chats have ended."""
    while not (batch.ended() and all_ended(some)):
        if (status := stack.processes["worker"].poll()) is not None:
            deaths.append(status)
            stack.start_worker(**settings)
        await asyncio.sleep(0.05)


def open_batches(stack: Stack) -> int:
    return int(stack.redis.zcard(keys.BATCHES_OPEN)) + int(stack.redis.llen("rq:queue:batch"))  # type: ignore[arg-type]


def test_two_kills_lose_no_line_and_repeat_none(
    stack: Stack, rng: random.Random, long: bool
) -> None:
    count = 10_000 if long else 1000
    batch = Batch(stack.port(), prompts("killed", count, max_tokens=16))
    at = sorted(rng.sample(range(count // 10, count * 6 // 10), 2))

    async def kill(place: int) -> None:
        await until(lambda: batch.done() >= place, 600, "progress")
        stack.kill("worker")
        kept = {row["custom_id"] for row in batch.results()}
        stack.start_worker()
        # All may have been done between the look and the kill.
        await until(lambda: batch.done() > len(kept) or batch.ended(), what="going on")
        assert kept <= {row["custom_id"] for row in batch.results()}

    async def kill_twice() -> None:
        for place in at:
            await kill(place)
        await until(batch.ended, 600, "the end")

    asyncio.run(kill_twice())
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
    assert checker.check([chat]) == []
    assert batch.wrong({"good-20": "gave_up_after_crashes"}) == []
    assert batch.missing() == set()
    assert batch.state()["counts"] == {
        "total": 40,
        "done": 39,
        "failed": 1,
        "cancelled": 0,
        "left": 0,
    }
    assert deaths == [-signal.SIGKILL] * MOST_CRASHES


def test_a_line_that_kills_its_workers_as_it_is_prepared_fails_alone_and_counts_for_no_chat(
    stack: Stack, checker: Checker
) -> None:
    """Also chats without text yet: they wait, process a long prompt, or have just streamed their
    first token."""
    rows = prompts("fine", 40, max_tokens=12)
    rows[20]["prompt"] = f"{DEADLY_PROMPT}, will you?"
    some = [*chats("innocent", 6, tokens=60), Chat("innocent and long " * 180, tokens=20)]
    batch = Batch(stack.port(), rows)
    deaths: list[int] = []
    asyncio.run(streamed(stack, some, keep(stack, batch, deaths)))
    assert checker.check(some) == []
    assert batch.wrong({"fine-20": "gave_up_after_crashes"}) == []
    assert batch.missing() == set()
    assert batch.state()["counts"] == {
        "total": 40,
        "done": 39,
        "failed": 1,
        "cancelled": 0,
        "left": 0,
    }
    assert deaths == [-signal.SIGSEGV] * MOST_CRASHES
    assert open_batches(stack) == 0


@pytest.mark.parametrize("beside_the_engine", [False, True])
def test_a_chat_that_kills_its_workers_as_it_is_prepared_costs_no_line_of_a_batch(
    stack: Stack, checker: Checker, beside_the_engine: bool
) -> None:
    bad = Chat(f"{'long ' * 2000 if beside_the_engine else ''}{DEADLY_PROMPT}, will you?")
    good = chats("beside a batch", 3, tokens=40)
    batch = Batch(stack.port(), prompts("patient", 60, max_tokens=12))
    deaths: list[int] = []

    async def come() -> None:
        await until(lambda: batch.done() > 0, what="the batch")
        await streamed(stack, [bad])

    asyncio.run(streamed(stack, good, come(), keep(stack, batch, deaths, [bad])))
    assert checker.check(good) == []
    assert checker.check([bad], code="gave_up_after_crashes") == []
    assert (batch.wrong(), batch.missing()) == ([], set())
    assert len(deaths) <= MOST_CRASHES + 1


def test_a_line_that_is_prepared_for_ever_fails_alone(stack: Stack, checker: Checker) -> None:
    """Such as a regular expression or a grammar. No stream waits for it, but every other line
    would."""
    stack.kill("worker", signal.SIGTERM)
    stack.start_worker(MLXQ_HANG_S="2")
    rows = prompts("quick", 8, max_tokens=12)
    rows[3]["prompt"] = HANGING_PROMPT
    chat = Chat("an innocent chat", tokens=60)
    batch = Batch(stack.port(), rows)
    deaths: list[int] = []
    asyncio.run(streamed(stack, [chat], keep(stack, batch, deaths, MLXQ_HANG_S="2")))
    assert checker.check([chat]) == []
    assert batch.wrong({"quick-3": "gave_up_after_crashes"}) == []
    assert (batch.missing(), deaths) == (set(), [70] * MOST_CRASHES)
    stack.kill("worker", signal.SIGTERM)


def test_a_batch_of_deadly_lines_ends_after_a_bounded_number_of_crashes(
    stack: Stack, checker: Checker
) -> None:
    rows = prompts("bad", 40, max_tokens=12)
    for row in rows[:-1]:
        row["prompt"] = f"{DEADLY_PROMPT} {row['custom_id']}"
    chat = Chat("an innocent chat", tokens=60)
    batch = Batch(stack.port(), rows)
    deaths: list[int] = []
    asyncio.run(streamed(stack, [chat], keep(stack, batch, deaths)))
    assert checker.check([chat]) == []
    codes = {row["error"]["code"] for row in batch.results() if "error" in row}
    assert codes == {"gave_up_after_crashes"}
    assert (batch.missing(), batch.state()["status"]) == (set(), "completed")
    # The first crash of each of the two slices is counted for no single line, and one line may be
    # given up.
    assert len(deaths) <= 2 + MOST_ALONE * MOST_DEADLY_LINES + 1


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

    def executions() -> set[bytes | str | None]:
        started = stack.redis.zrange("rq:wip:batch", 0, -1)
        return {
            stack.redis.hget(f"rq:execution:{member.decode()}", "worker_name") for member in started
        }

    async def share() -> None:
        stack.start_worker("second")
        await stack.worker_ready("second")
        await until(lambda: len(executions() - {None}) == 2, what="two workers on one batch")
        await until(lambda: batch.done() > 0, what="results")
        batch.cancel()
        await until(batch.ended, what="the end")

    asyncio.run(share())
    view = batch.state()
    assert view["status"] == "cancelled"
    assert view["counts"]["done"] == len(batch.results()) > 0
    assert view["counts"]["cancelled"] == 4000 - view["counts"]["done"]
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
