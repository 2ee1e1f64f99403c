"""The API is killed or stopped; clients are cut off, leave, send a request twice or send nonsense:
each job runs once, and each text is complete."""

from __future__ import annotations

import asyncio
import random
import signal
import time

import psutil
import pytest

from tests.faults.checker import Checker, expected
from tests.faults.client import CHAT, Chat, Client, Connection, ask
from tests.faults.running_chats import (
    Limits,
    at_token,
    attempts,
    chats,
    logged,
    repeated,
    streamed,
)
from tests.faults.stack import Stack, until
from wire import keys

SLACK_S = 10.0
"""Time that a busy machine may add to a limit."""
PACE_S = 0.1
"""Between two tokens of a chat that is to be stopped."""
STOP = f"{CHAT}/stop"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_fifty_clients_come_back_after_the_api_has_ended(
    stack: Stack, checker: Checker, rng: random.Random, number: signal.Signals
) -> None:
    fifty = chats(f"api {number}", 50, tokens=80)

    async def end() -> None:
        await at_token(fifty[:1], rng.randrange(1, 60))
        began = time.monotonic()
        assert stack.kill("api", number) == (-number if number == signal.SIGKILL else 0)
        assert time.monotonic() - began < 10
        seen = {
            chat.job_id: chat.cursor
            for chat in fifty[:20]
            if chat.job_id and chat.cursor < chat.tokens
        }
        await until(lambda: all(logged(stack, job) > at for job, at in seen.items()), what="tokens")
        stack.start_api()

    asyncio.run(streamed(stack, fifty, end()))
    assert checker.check(fifty) == []
    assert {attempts(stack, chat) for chat in fifty} == {1}


def test_streams_cut_at_random_bytes_are_whole_in_the_end(
    stack: Stack, checker: Checker, rng: random.Random
) -> None:
    first, second = chats("cut", 8), chats("cut", 8)

    async def another_tab(one: Chat, other: Chat) -> None:
        await until(lambda: one.job_id, what="the job")
        other.job_id = one.job_id
        await Client(other, stack.port, limits()).run()

    def limits() -> Limits:
        return repeated([rng.randrange(1, 500) for _ in range(20)])

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for one, other in zip(first, second, strict=True):
                group.create_task(Client(one, stack.port, limits()).run())
                group.create_task(another_tab(one, other))

    asyncio.run(run())
    assert all(chat.cuts == 20 for chat in first)
    assert checker.check([*first, *second]) == []


HOSTILE = [
    "-1",
    "x",
    "1-1",
    "0x1",
    "1e3",
    "9" * 400,
    "%D9%A3",
    "1%20",
    "*",
    "0;1",
    "999",
    "%00",
    "1%0D%0Aid:1",
]


def test_a_hostile_cursor_is_refused_and_shows_nothing(stack: Stack, checker: Checker) -> None:
    mine, other = chats("cursor", 2, tokens=5)
    asyncio.run(streamed(stack, [mine, other]))

    async def run() -> None:
        for cursor in HOSTILE:
            answer = await ask(stack.port(), "GET", f"{CHAT}/{mine.job_id}/events?after={cursor}")
            assert (answer.status, answer.json["code"]) == (400, "bad_request"), cursor
            assert len(answer.body) <= 1024
        for job_id in (
            "0" * 32,
            "*",
            other.job_id.upper(),
            f"{other.job_id}x",
            "%2e%2e",
            "a" * 4000,
        ):
            answer = await ask(stack.port(), "GET", f"{CHAT}/{job_id}/events?after=0")
            assert answer.status == 404, job_id
        stack.redis.delete(keys.log(other.job_id))
        answer = await ask(stack.port(), "GET", f"{CHAT}/{other.job_id}/events?after=0")
        assert (answer.status, answer.json["code"]) == (410, "expired")

    asyncio.run(run())
    assert checker.check([mine]) == []


def test_clients_that_leave_at_any_moment_leave_nothing(
    stack: Stack, rng: random.Random, long: bool
) -> None:
    """In the long form also clients that leave: their chats are stopped some 30 s later."""
    count = 500 if long else 60
    leaving = chats("left", count, tokens=3000 if long else 30)
    process = psutil.Process(stack.processes["api"].pid)
    before, ids = process.num_fds(), []

    async def leave(chat: Chat) -> None:
        connection = await Connection.open(stack.port(), rng.randrange(1, 2000))
        try:
            connection.send("POST", CHAT, chat.body)
            ids.append((await connection.head()).headers["x-job-id"])
            while await connection.chunk():
                pass
        except OSError:
            return
        finally:
            connection.close()

    async def run() -> None:
        for start in range(0, count, 20):
            await asyncio.gather(*(leave(chat) for chat in leaving[start : start + 20]))
        await until(lambda: process.num_fds() <= before + 2, what="closed sockets")
        ended = [keys.attempt(job_id) for job_id in ids]
        await until(
            lambda: all(str(v).startswith("b'ended") for v in stack.redis.mget(ended)),
            90,
            "the ends",
        )

    asyncio.run(run())


def test_a_stop_ends_a_chat_at_any_time_and_for_good(stack: Stack, checker: Checker) -> None:
    queued, reading, writing, again = (
        Chat(f"stop {n} " + "x" * size, tokens=1500) for n, size in enumerate((9, 2400, 9, 9))
    )
    reading.more = {"stream_options": {"include_progress": True}}

    async def stop(chat: Chat) -> None:
        shown = chat.cursor
        assert (await ask(stack.port(), "POST", STOP, {"job_id": chat.job_id})).json == {
            "status": "stopped"
        }
        assert await until(lambda: chat.done, what="the end") < 0.25 + SLACK_S
        assert chat.cursor < shown + SLACK_S / PACE_S

    async def run() -> None:
        await until(lambda: queued.job_id)
        await stop(queued)
        # Slowly, so that a long prompt is still being read when the stop comes.
        stack.start_worker(MLXQ_PREFILL_STEP="16", MLXQ_ECHO_DELAY_MS=str(int(1000 * PACE_S)))
        await until(
            lambda: any("prefill" in str(frame) for _, _, frame in reading.frames), what="prefill"
        )
        await stop(reading)
        await at_token([writing, again], 5)
        await stop(writing)
        await asyncio.gather(stop(again), stop(again))
        await stop(again)

    stack.kill("worker", signal.SIGTERM)
    four = [queued, reading, writing, again]
    asyncio.run(streamed(stack, four, run()))
    assert checker.check(four, stopped=True) == []
    assert queued.text == reading.text == ""
    assert expected(writing).startswith(writing.text)
    assert writing.text
    stack.kill("worker")
    stack.start_worker()
    asyncio.run(stack.worker_ready())
    assert checker.changed() == []


def test_one_key_makes_one_job_also_over_a_kill_of_the_api(stack: Stack, checker: Checker) -> None:
    fifty, later = (
        [Chat("the same", seed=7, tokens=100, key="one-key") for _ in range(count)]
        for count in (50, 10)
    )

    async def kill() -> None:
        await at_token(fifty, 10)
        stack.kill("api")
        stack.start_api()
        await streamed(stack, later)

    asyncio.run(streamed(stack, fifty, kill()))
    assert len({chat.job_id for chat in (*fifty, *later)}) == 1
    assert checker.check([*fifty, *later]) == []

    async def other_body() -> None:
        body = Chat("another", key="one-key").body
        answer = await ask(stack.port(), "POST", CHAT, body, Idempotency_Key="one-key")
        assert (answer.status, answer.json["code"]) == (409, "conflict")
        for key in ("", "two words", "x" * 256):
            assert (await ask(stack.port(), "POST", CHAT, body, Idempotency_Key=key)).status == 400

    asyncio.run(other_body())


def test_a_job_can_be_looked_at_while_it_runs_and_after(stack: Stack, checker: Checker) -> None:
    running, chat = Chat("looked at", tokens=3000), Chat("looked at after", tokens=60)

    async def look() -> None:
        await at_token([running], 5)
        view = (await ask(stack.port(), "GET", f"/api/engine/jobs/{running.job_id}")).json
        assert (view["state"], view["position"], view["finish_reason"]) == ("running", None, None)
        assert expected(running).startswith(view["text"])
        assert view["last_event_id"] >= 5
        await ask(stack.port(), "POST", STOP, {"job_id": running.job_id})

    asyncio.run(streamed(stack, [running, chat], look()))
    assert checker.check([running], stopped=True) == []
    assert checker.check([chat]) == []
    view = asyncio.run(ask(stack.port(), "GET", f"/api/engine/jobs/{chat.job_id}")).json
    assert (view["state"], view["text"], view["finish_reason"]) == (
        "ended",
        expected(chat),
        "length",
    )
    assert view["usage"]["completion_tokens"] == 60
    assert asyncio.run(ask(stack.port(), "GET", f"/api/engine/jobs/{'0' * 32}")).status == 404
