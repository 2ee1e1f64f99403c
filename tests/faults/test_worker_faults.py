"""The worker is killed, frozen, stopped, crashed by a prompt or hung: streams go on at the exact
next token."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Sequence
from typing import Any

from tests.faults.checker import Checker
from tests.faults.client import Chat
from tests.faults.running_chats import (
    all_ended,
    asked,
    at_token,
    attempts,
    chats,
    restarted,
    streamed,
)
from tests.faults.stack import Stack, until
from wire import keys
from wire.queueing import schedule, start_by
from wire.queueing.schedule import scheduled_key
from wire.queueing.start_by import START_BY
from worker.backends.echo import DEADLY, HANGING
from worker.jobs.crashes.poison_jobs import MOST_CRASHES

DIES_BETWEEN_POP_AND_START = """
import os, signal
from worker import __main__
from worker.jobs.rq_worker import chat_worker
chat_worker.ChatWorker.execute_job = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
__main__.main()
"""
INTERMEDIATE = "rq:queue:chat:intermediate"

PAUSE_S = 5.0
"""What a kill may cost beside the start of the next worker, as promised."""
TAKEOVER_S = 15.0
SLACK_S = 10.0
"""Time that a busy machine may add to a limit."""


def test_a_killed_worker_costs_a_pause_and_no_token(
    stack: Stack, checker: Checker, rng: random.Random, long: bool
) -> None:
    for round_number in range(10 if long else 1):
        eight = chats(f"killed {round_number}", 8, tokens=250)
        starts: list[float] = []

        async def kill(some: Sequence[Chat] = eight, starts: list[float] = starts) -> None:
            for at in (rng.randrange(1, 60), rng.randrange(120, 150)):
                await at_token(some, at)
                starts.append(await restarted(stack))

        asyncio.run(streamed(stack, eight, kill()))
        assert checker.check(eight) == []
        silence = max(chat.longest_silence for chat in eight)
        assert silence < max(starts) + PAUSE_S + SLACK_S
    names = [worker.decode() for worker in stack.redis.smembers(keys.WORKERS)]  # type: ignore[union-attr]
    for chat in eight[:2]:
        receipt = asked(stack, "GET", f"/api/engine/jobs/{chat.job_id}/receipt")
        assert len(set(receipt["workers"])) == 3
        assert receipt["workers"][-1] in names
        assert (receipt["seed"], receipt["finish_reason"]) == (chat.seed, "length")
        assert receipt["usage"]["completion_tokens"] == chat.tokens
        replay = asked(stack, "POST", f"/api/engine/jobs/{chat.job_id}/replay")
        assert (replay["result"], replay["compared_tokens"]) == ("identical", chat.tokens)


def test_a_worker_killed_between_pop_and_start_loses_no_job(
    stack: Stack, checker: Checker, long: bool
) -> None:
    """A few real kills between pop and start; the other jobs are moved to where such a kill leaves
    them."""
    hundred = chats("popped", 100, tokens=5)
    redis = stack.redis
    stack.kill("worker")

    async def die() -> None:
        await until(lambda: redis.llen("rq:queue:chat") == len(hundred), what="the queue")
        for _ in range(5 if long else 2):
            stack.start_worker(command=("-c", DIES_BETWEEN_POP_AND_START))
            await until(lambda: stack.processes["worker"].poll() == -signal.SIGKILL, what="death")
        assert redis.llen(INTERMEDIATE) == 1
        while redis.lmove("rq:queue:chat", INTERMEDIATE, "LEFT", "RIGHT"):
            pass
        stack.start_worker()
        await stack.worker_ready()
        assert await until(lambda: all_ended(hundred)) < TAKEOVER_S + SLACK_S

    asyncio.run(streamed(stack, hundred, die()))
    assert checker.check(hundred) == []


def test_another_worker_puts_back_what_a_dead_one_had_popped(
    stack: Stack, checker: Checker
) -> None:
    """A frozen worker's pop goes on in Redis: the job is popped, and the worker dies before it
    learns of it."""
    one = chats("left", 1, tokens=5)
    stack.processes["worker"].send_signal(signal.SIGSTOP)

    async def leave() -> None:
        await until(lambda: stack.redis.llen(INTERMEDIATE) == 1, what="the job")
        stack.kill("worker")
        stack.start_worker("second")
        await stack.worker_ready("second")
        assert await until(lambda: all_ended(one)) < TAKEOVER_S + SLACK_S

    asyncio.run(streamed(stack, one, leave()))
    assert checker.check(one) == []
    assert stack.kill("second", signal.SIGTERM) == 0


def test_a_frozen_worker_is_taken_over_and_its_writes_are_refused(
    stack: Stack, checker: Checker
) -> None:
    four = chats("frozen", 4, tokens=2000)
    took: list[float] = []

    async def freeze() -> None:
        await at_token(four, 5)
        # The first has far to go while the second starts; the second gets through the rest sooner.
        stack.start_worker("second", MLXQ_ECHO_DELAY_MS="5")
        await stack.worker_ready("second")
        stack.processes["worker"].send_signal(signal.SIGSTOP)
        began, seen = time.monotonic(), [chat.cursor for chat in four]
        await until(
            lambda: all(c.cursor > s + 5 for c, s in zip(four, seen, strict=True)),
            what="the second worker",
        )
        took.append(time.monotonic() - began)
        stack.processes["worker"].send_signal(signal.SIGCONT)

    asyncio.run(streamed(stack, four, freeze()))
    assert checker.check(four) == []
    assert took[0] < TAKEOVER_S + SLACK_S
    for chat in four:
        lines = stack.log("worker").read_text().splitlines()
        assert [line for line in lines if "has been taken over" in line and chat.job_id in line]
        assert attempts(stack, chat) == 2
    assert stack.kill("second", signal.SIGTERM) == 0


def test_a_stopping_worker_drains_hands_back_and_loses_nothing(
    stack: Stack, checker: Checker
) -> None:
    stack.kill("worker", signal.SIGTERM)
    stack.start_worker(MLXQ_DRAIN_S="4")
    lengthy, brief = chats("handed back", 8, tokens=1000), chats("drained", 2, tokens=40)
    late = chats("late", 2, tokens=5)

    async def stop() -> None:
        await at_token([*lengthy, *brief], 10)
        stack.processes["worker"].send_signal(signal.SIGTERM)
        began = time.monotonic()
        await until(lambda: all_ended(brief), what="the drain")
        code = await until(lambda: stack.processes["worker"].poll() is not None, what="the stop")
        assert (stack.processes["worker"].returncode, code >= 0) == (0, True)
        assert time.monotonic() - began < 30
        assert all(chat.cursor < 1000 for chat in lengthy)
        stack.start_worker(MLXQ_ECHO_DELAY_MS="1")  # It has most of their tokens left to generate.

    async def come_late() -> None:
        await until(
            lambda: (
                stack.processes["worker"].poll() is not None or any(c.cursor > 12 for c in lengthy)
            )
        )
        await streamed(stack, late)

    asyncio.run(streamed(stack, [*lengthy, *brief], stop(), come_late()))
    assert checker.check([*lengthy, *brief, *late]) == []
    assert {attempts(stack, chat) for chat in brief} == {1}
    assert {attempts(stack, chat) for chat in lengthy} == {2}
    assert not any(stack.redis.hexists(keys.job(chat.job_id), "crashes") for chat in lengthy)
    stack.kill("worker", signal.SIGTERM)  # The next test gets one at the usual pace.


async def keep(stack: Stack, some: Sequence[Chat], deaths: list[int], **settings: str) -> None:
    """Start the worker again whenever it has died, until these chats have ended."""
    while not all_ended(some):
        if (status := stack.processes["worker"].poll()) is not None:
            deaths.append(status)
            stack.start_worker(**settings)
        await asyncio.sleep(0.05)


def test_a_job_that_kills_its_worker_is_given_up_and_the_others_finish(
    stack: Stack, checker: Checker
) -> None:
    good, bad = chats("good", 20, tokens=40), [Chat(f"{DEADLY} now", tokens=40)]
    deaths: list[int] = []
    asyncio.run(streamed(stack, [*good, *bad], keep(stack, [*good, *bad], deaths)))
    assert checker.check(good) == []
    assert checker.check(bad, code="gave_up_after_crashes") == []
    assert deaths == [-signal.SIGKILL] * MOST_CRASHES


def test_an_engine_that_hangs_is_noticed_and_replaced(stack: Stack, checker: Checker) -> None:
    settings = {"MLXQ_HANG_S": "2"}
    stack.kill("worker", signal.SIGTERM)
    stack.start_worker(**settings)
    good, bad = chats("beside", 3, tokens=60), [Chat(HANGING, tokens=40)]
    deaths: list[int] = []

    async def hang() -> None:
        await at_token(good, 5)
        await streamed(stack, bad, keep(stack, [*good, *bad], deaths, **settings))

    asyncio.run(streamed(stack, good, hang()))
    assert checker.check(good) == []
    assert checker.check(bad, code="gave_up_after_crashes") == []
    assert deaths == [70] * MOST_CRASHES
    stack.kill("worker", signal.SIGTERM)


def waiting(stack: Stack, some: list[Chat]) -> bool:
    """Whether all of these chats are on the queue."""
    ids: Any = stack.redis.lrange("rq:queue:chat", 0, -1)
    return {chat.job_id for chat in some} <= {job_id.decode() for job_id in ids}


def let_time_pass(stack: Stack, late: list[Chat], later: list[Chat]) -> int:
    """As if the late ones had waited for too long, and the later ones were due in a second. Returns
    when they are, seconds since the epoch."""
    due = int(time.time()) + 2
    for chat in late:
        stack.redis.zadd(START_BY, {chat.job_id: 1}, xx=True)
        stack.redis.hset(keys.job(chat.job_id), start_by.FIELD, 1)
    for chat in later:
        stack.redis.zadd(scheduled_key(keys.CHAT_QUEUE), {chat.job_id: due}, xx=True)
        stack.redis.hset(keys.job(chat.job_id), schedule.FIELD, due * 1000)
    return due


def taken_at(stack: Stack, job_id: str) -> int:
    """When a job was taken up, microseconds."""
    lease: Any = stack.redis.get(keys.attempt(job_id))
    return int(lease.removeprefix(b"ended:"))


def test_order_limits_and_times_survive_the_death_of_api_and_worker(
    stack: Stack, checker: Checker
) -> None:
    """Times are moved, not waited for: until all have come, none may be over."""
    stack.kill("worker")
    hour, due = 3600, []
    low = chats("low", 4, tokens=3, more={"priority": "low"})
    late = chats("late", 2, tokens=3, more={"max_queue_s": hour})
    later = chats("later", 2, tokens=3, more={"not_before": time.time() + hour})
    high = chats("high", 4, tokens=3, more={"priority": "high"})
    scheduled, high_may_come = scheduled_key(keys.CHAT_QUEUE), asyncio.Event()

    async def come() -> None:
        await until(lambda: waiting(stack, [*low, *late]), what="the queue")
        high_may_come.set()
        await until(lambda: stack.redis.zcard(scheduled) == len(later), what="the scheduled")
        assert stack.redis.zcard(START_BY) == len(late)
        stack.kill("api")
        due.append(let_time_pass(stack, late, later))
        stack.start_api()
        await stack.api_ready()
        await until(lambda: all_ended(late), what="the limit")
        await until(lambda: waiting(stack, [*low, *high]), what="all of them")
        stack.start_worker()
        await stack.worker_ready()

    async def everything() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(streamed(stack, [*low, *late, *later], come()))
            await high_may_come.wait()
            group.create_task(streamed(stack, high))

    asyncio.run(everything())
    assert {chat.end["code"] for chat in late} == {"expired"}
    order = sorted([*low, *high], key=lambda chat: taken_at(stack, chat.job_id))
    assert {chat.prompt.split()[0] for chat in order[: len(high)]} == {"high"}
    assert all(taken_at(stack, chat.job_id) >= due[0] * 1e6 for chat in later)
    assert checker.check([*low, *later, *high]) == []
