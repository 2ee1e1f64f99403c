"""The worker is killed, frozen, stopped, crashed by a prompt or hung: streams go on at the exact
next token."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Sequence

from tests.faults.checker import Checker
from tests.faults.client import Chat
from tests.faults.running_chats import all_ended, asked, at_token, attempts, chats, streamed
from tests.faults.stack import Stack, until
from wire import keys
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

RESTART_S = 20.0
"""Restart, load and the promised 5 s; most of it is the start of a process on a busy machine."""
TAKEOVER_S = 15.0
SLACK_S = 10.0
"""Time that a busy machine may add to a limit."""


def test_a_killed_worker_costs_a_pause_and_no_token(
    stack: Stack, checker: Checker, rng: random.Random, long: bool
) -> None:
    for round_number in range(10 if long else 1):
        eight = chats(f"killed {round_number}", 8, tokens=80)

        async def kill(some: Sequence[Chat] = eight) -> None:
            for at in sorted(rng.sample(range(1, 60), 2)):
                await at_token(some, at)
                stack.kill("worker")
                stack.start_worker()

        asyncio.run(streamed(stack, eight, kill()))
        assert checker.check(eight) == []
        assert max(chat.longest_silence for chat in eight) < RESTART_S
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
    four = chats("frozen", 4, tokens=600)
    took: list[float] = []

    async def freeze() -> None:
        await at_token(four, 5)
        stack.start_worker("second")
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
    stack.start_worker(MLXQ_DRAIN_S="1")
    lengthy, brief = chats("handed back", 8, tokens=200), chats("drained", 2, tokens=40)
    late = chats("late", 2, tokens=5)

    async def stop() -> None:
        await at_token([*lengthy, *brief], 10)
        stack.processes["worker"].send_signal(signal.SIGTERM)
        began = time.monotonic()
        await until(lambda: all_ended(brief), what="the drain")
        code = await until(lambda: stack.processes["worker"].poll() is not None, what="the stop")
        assert (stack.processes["worker"].returncode, code >= 0) == (0, True)
        assert time.monotonic() - began < 30
        assert all(chat.cursor < 200 for chat in lengthy)
        stack.start_worker()

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
