"""Redis is killed and loses the tail of its log, again and again, under chats whose readers have
seen more.

The chats go on: each is read to its end and checked token by token. Knows neither a test nor a
command line.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from tests.faults.checker import LOST, stream_wrong
from tests.faults.client import Chat, Client
from tests.faults.running_chats import logged
from tests.faults.stack import Stack, until

MOST_BYTES = 200_000
READERS = 8
API_SHARE = 0.2
"""The share of cuts with which the API is killed as well: its start takes longest."""
_PAUSE_S = (0.05, 0.5)


@dataclass
class Result:
    """The results: cuts made, cuts that removed tokens which a reader had seen, chats by how they
    ended."""

    cuts: int = 0
    with_api: int = 0
    bytes_lost: int = 0
    overtaken: int = 0
    whole: int = 0
    lost: int = 0
    wrong: list[str] = field(default_factory=list)


class Cuts:
    """Eight readers with one chat after the other each, at one pace of tokens, and the cuts."""

    def __init__(self, stack: Stack, delay_ms: int, rng: random.Random, result: Result) -> None:
        self._stack, self._delay_ms, self._rng, self._result = stack, delay_ms, rng, result
        self._reading: dict[int, Chat] = {}
        self._over = False
        self._number = 0

    async def run(self, cuts: int) -> None:
        """Make so many cuts, and read the chats that run then to their ends."""
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(self._read(place)) for place in range(READERS)]
            for _ in range(cuts):
                await self._cut()
            self._over = True
            await asyncio.wait(readers)

    async def _read(self, place: int) -> None:
        while not self._over:
            self._number += 1
            # Some seconds long, so that most of it outlives a cut.
            tokens = self._rng.randrange(200, 800 if self._delay_ms > 20 else 3000)
            chat = Chat(f"cut {self._number}", seed=self._number, tokens=tokens)
            chat.more = {"on_disconnect": "continue"}
            self._reading[place] = chat
            await Client(chat, self._stack.port).run()
            self._check(chat)

    def _check(self, chat: Chat) -> None:
        """Check what was streamed: the log may be losing its end again by now, and be rewritten."""
        lost = chat.given_up == 404 or chat.end.get("code") in LOST
        wrong = stream_wrong(chat, chat.end.get("code") if lost else None)
        # The loss reached back to before the chat was accepted: the text so far must be right.
        if lost:
            wrong = [line for line in wrong if line.startswith("I2")]
        self._result.lost += lost
        self._result.whole += not lost and not wrong
        self._result.wrong += [
            f"{self._delay_ms} ms a token, {chat.prompt}: {line}" for line in wrong
        ]

    async def _cut(self) -> None:
        rng, stack = self._rng, self._stack
        before = {id(chat): chat.cursor for chat in self._reading.values()}
        await until(lambda: self._has_gone_on(before), what="tokens")
        await asyncio.sleep(rng.uniform(*_PAUSE_S))
        stack.kill_redis()
        with_api = rng.random() < API_SHARE
        if with_api:
            stack.kill("api")
        size = int(MOST_BYTES ** rng.random())
        chats = [chat for chat in self._reading.values() if chat.job_id and not chat.done]
        await stack.start_redis(lost_bytes=size)
        self._result.overtaken += self._count_overtaken(chats)
        if with_api:
            stack.start_api()
        self._result.cuts += 1
        self._result.with_api += with_api
        self._result.bytes_lost += size

    def _has_gone_on(self, before: dict[int, int]) -> bool:
        """Whether half of the readers have got something since, or read another chat by now."""
        gone_on = sum(chat.cursor > before.get(id(chat), 0) for chat in self._reading.values())
        return gone_on >= READERS // 2

    def _count_overtaken(self, chats: list[Chat]) -> int:
        return int(any(chat.cursor > logged(self._stack, chat.job_id) for chat in chats))
