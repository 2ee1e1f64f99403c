"""What fault tests do again and again: chats, their clients, and waiting for a place in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from tests.faults.client import Chat, Client
from tests.faults.stack import Stack, until
from wire import keys
from wire.log_entries import decode_rows, position_after

Limits = Callable[[], int | None]
MOST_S = 150
"""No scene takes as long, also on a busy machine."""


def chats(name: str, count: int, **more: Any) -> list[Chat]:
    return [Chat(f"{name} {number}", seed=number, **more) for number in range(count)]


def all_ended(some: Sequence[Chat]) -> bool:
    return all(chat.done or chat.given_up for chat in some)


def logged(stack: Stack, job_id: str) -> int:
    """How many tokens of a job are in its log."""
    rows: Any = stack.redis.xrange(keys.log(job_id))
    return position_after(decode_rows(rows))


async def at_token(some: Sequence[Chat], number: int) -> None:
    """Wait until each of these has shown so many tokens, or its end."""
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
    """Limits for one client: these, one a connection, and none after them."""
    rest: Iterator[int | None] = iter(values)
    return lambda: next(rest, None)
