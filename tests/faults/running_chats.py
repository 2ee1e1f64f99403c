"""Chats of fault tests: their clients, and waiting until they have reached a token."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing
from typing import Any

from tests.faults.client import Chat, Client
from tests.faults.stack import Stack, until
from wire import keys
from wire.log_entries import decode_rows, position_after

Limits = Callable[[], int | None]
MOST_S = 300
"""No test's chats take as long, also on a busy machine."""


def chats(name: str, count: int, **more: Any) -> list[Chat]:
    return [Chat(f"{name} {number}", seed=number, **more) for number in range(count)]


def all_ended(some: Sequence[Chat]) -> bool:
    return all(chat.done or chat.given_up for chat in some)


def logged(stack: Stack, job_id: str) -> int:
    """How many tokens of a job are in its log."""
    rows: Any = stack.redis.xrange(keys.log(job_id))
    return position_after(decode_rows(rows))


def attempts(stack: Stack, chat: Chat) -> int:
    """How often a chat's log was begun or taken up."""
    count: Any = stack.redis.hget(keys.job(chat.job_id), "attempts")
    return int(count)


def asked(stack: Stack, method: str, path: str) -> Any:
    """The JSON that the API answers with."""
    with closing(http.client.HTTPConnection("127.0.0.1", stack.port(), timeout=MOST_S)) as api:
        api.request(method, path)
        response = api.getresponse()
        body = response.read()
    assert response.status == 200, body
    return json.loads(body)


async def restarted(stack: Stack, **settings: str) -> float:
    """Kill the worker, start it again and wait for it; returns how long that took, seconds."""
    began = time.monotonic()
    stack.kill("worker")
    stack.start_worker(**settings)
    await stack.worker_ready()
    return time.monotonic() - began


async def at_token(some: Sequence[Chat], number: int) -> None:
    """Wait until each chat has streamed so many tokens, or ended."""
    await until(
        lambda: all(chat.cursor >= number or chat.done or chat.given_up for chat in some),
        what="tokens",
    )


async def streamed(
    stack: Stack, some: Sequence[Chat], *faults: Coroutine[Any, Any, object]
) -> None:
    """Run clients for these chats beside the faults, to the end of both."""
    async with asyncio.timeout(MOST_S), asyncio.TaskGroup() as group:
        for chat in some:
            group.create_task(Client(chat, stack.port).run())
        for fault in faults:
            group.create_task(fault)


def repeated(values: Sequence[int | None]) -> Limits:
    """Limits for one client: one of these for each connection, then none."""
    rest: Iterator[int | None] = iter(values)
    return lambda: next(rest, None)
