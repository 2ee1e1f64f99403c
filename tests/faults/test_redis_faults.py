"""Redis is away, restarted, emptied or full: no data that it still has is lost, and clients get an
error for what it lost."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from tests.faults.checker import Checker
from tests.faults.client import CHAT, Chat, ask
from tests.faults.running_chats import (
    all_ended,
    at_token,
    attempts,
    chats,
    logged,
    streamed,
)
from tests.faults.stack import Stack, until
from wire import keys

SLACK_S = 8.0
"""Time that a busy machine may add to a limit."""


@pytest.mark.parametrize("down_s", [0.2, 3, 8, 30])
def test_a_restart_of_redis_costs_a_pause_and_no_token(
    stack: Stack, checker: Checker, long: bool, down_s: float
) -> None:
    if down_s > 8 and not long:
        pytest.skip("part of the long form")
    forty = chats(f"restart {down_s}", 40, tokens=100)

    async def restart() -> None:
        await at_token(forty[:8], 20)
        await until(lambda: all(chat.job_id for chat in forty))
        stack.kill_redis()
        await asyncio.sleep(down_s)  # The length of the outage is what is tested.
        await stack.start_redis()

    asyncio.run(streamed(stack, forty, restart()))
    assert checker.check(forty) == []
    assert max(chat.longest_silence for chat in forty) < down_s + 2 + SLACK_S
    assert {attempts(stack, chat) for chat in forty} == {1}


def test_events_that_redis_lost_when_it_was_killed_are_written_again(
    stack: Stack, checker: Checker
) -> None:
    """Also to clients that have received more than Redis still has, and reconnect with their
    cursor."""
    eight = chats("forgotten", 8, tokens=150)

    async def lose() -> None:
        await at_token(eight, 40)
        stack.kill_redis()
        seen = [chat.cursor for chat in eight]
        stack.kill("api")
        with stack.frozen():  # Or the worker might have written all of it again by then.
            await stack.start_redis(lost_bytes=50_000)
            left = [logged(stack, chat.job_id) for chat in eight]
        assert any(have < had for have, had in zip(left, seen, strict=True))
        stack.start_api()

    asyncio.run(streamed(stack, eight, lose()))
    assert checker.check(eight) == []


def test_an_end_that_redis_forgets_after_it_was_seen_is_written_again(
    stack: Stack, checker: Checker
) -> None:
    """Its readers have left, and no job is running: a later reader still gets the whole text."""
    eight = chats("forgotten end", 8, tokens=60)
    later = chats("forgotten end", 8, tokens=60)

    async def lose() -> None:
        await streamed(stack, eight)
        assert checker.check(eight) == []
        with stack.frozen():  # Or what was lost is written again before anybody could see it.
            stack.kill_redis()
            # From the last that was written of each chat's lease, which is with its end.
            of_ends = [stack.bytes_since(keys.attempt(chat.job_id).encode()) for chat in eight]
            await stack.start_redis(lost_bytes=max(15_000, *of_ends))
            ends: Any = stack.redis.mget([keys.attempt(chat.job_id) for chat in eight])
            ended = [(end or b"").startswith(b"ended:") for end in ends]
            assert not any(ended), "the lost bytes should contain the end of each chat"
        for chat, again in zip(eight, later, strict=True):
            again.job_id = chat.job_id
        await streamed(stack, later)

    asyncio.run(lose())
    assert checker.changed() == [], "what was lost and written again is not a changed end"
    assert checker.check(later) == []


@pytest.mark.parametrize("how", ["flushed", "restarted empty"])
def test_when_redis_loses_its_data_every_client_gets_an_error(
    stack: Stack, checker: Checker, how: str
) -> None:
    lost, after = chats(f"lost {how}", 40, tokens=2000), chats("after", 2, tokens=10)
    took: list[float] = []

    async def lose() -> None:
        # Which chats get the worker's slots is random: the others are still queued.
        await until(
            lambda: (
                all(chat.job_id for chat in lost) and sum(chat.cursor >= 10 for chat in lost) >= 8
            )
        )
        if how == "flushed":
            stack.flush_redis()
        else:
            stack.kill_redis()
            await stack.start_redis(empty=True)
        took.append(await until(lambda: all_ended(lost), what="the errors"))
        await streamed(stack, after)

    asyncio.run(streamed(stack, lost, lose()))
    assert took[0] < 10 + SLACK_S
    assert checker.check(lost, code="job_lost") == []
    assert checker.check(after) == []
    assert stack.redis.scard("rq:workers") == 1


def test_without_redis_a_chat_is_refused_soon_and_leaves_nothing(
    stack: Stack, checker: Checker
) -> None:
    chat = Chat("early", tokens=5)

    async def run() -> None:
        stack.kill_redis()
        began = time.monotonic()
        answer = await ask(stack.port(), "POST", CHAT, chat.body)
        assert (answer.status, answer.json["code"]) == (503, "redis_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert time.monotonic() - began < 2 + SLACK_S
        assert (await ask(stack.port(), "GET", "/ready")).status == 503
        assert (await ask(stack.port(), "GET", "/health")).status == 200
        known = set()
        await stack.start_redis()
        known |= set(stack.redis.scan_iter("rq:job:*"))
        began = time.monotonic()
        while (await ask(stack.port(), "GET", "/ready")).status != 200:
            assert time.monotonic() - began < 2 + SLACK_S
            await asyncio.sleep(0.05)
        assert set(stack.redis.scan_iter("rq:job:*")) == known
        await streamed(stack, [chat])

    asyncio.run(run())
    assert checker.check([chat]) == []


def test_a_full_redis_refuses_chats_and_loses_none(stack: Stack, checker: Checker) -> None:
    eight = chats("full", 8, tokens=150)

    async def fill() -> None:
        await at_token(eight, 10)
        seen = len(stack.log("worker").read_bytes())
        stack.redis.config_set("maxmemory", "1mb")
        try:
            answer = await ask(stack.port(), "POST", CHAT, Chat("too much").body)
            assert (answer.status, answer.json["code"]) == (503, "redis_full")
            assert int(answer.headers["retry-after"]) > 0
            await until(
                lambda: b"OOM" in stack.log("worker").read_bytes()[seen:], what="a refused write"
            )
        finally:
            stack.redis.config_set("maxmemory", "0")

    asyncio.run(streamed(stack, eight, fill()))
    assert checker.check(eight) == []
    assert {attempts(stack, chat) for chat in eight} == {1}


def test_nothing_starts_on_a_redis_that_throws_jobs_away(stack: Stack) -> None:
    stack.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        stack.start_worker("refused worker")
        stack.start_api("refused api")
        for name in ("refused worker", "refused api"):
            assert stack.processes[name].wait(60) > 0
            assert "maxmemory-policy allkeys-lru" in stack.log(name).read_text()
    finally:
        stack.redis.config_set("maxmemory-policy", "noeviction")


def test_a_frozen_redis_is_waited_for(stack: Stack, checker: Checker) -> None:
    eight = chats("slow", 8, tokens=100)

    async def freeze() -> None:
        await at_token(eight, 10)
        assert stack.server.process is not None
        stack.server.process.send_signal(signal.SIGSTOP)
        try:
            answer = await ask(stack.port(), "POST", CHAT, Chat("meanwhile").body)
            assert (answer.status, answer.json["code"]) == (503, "redis_unavailable")
        finally:
            stack.server.process.send_signal(signal.SIGCONT)

    asyncio.run(streamed(stack, eight, freeze()))
    assert checker.check(eight) == []
