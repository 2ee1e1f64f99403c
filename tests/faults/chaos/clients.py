"""Clients that send chats, reconnect, stop some, and check what they received. Knows no fault."""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from tests.faults.checker import Checker
from tests.faults.client import CHAT, Chat, Client, Where, ask
from worker.backends.echo import DEADLY

LONGEST_S = 300.0
"""A chat that takes longer has hung."""
DEADLY_SHARE, STOPPED_SHARE, CUT_SHARE = 0.004, 0.05, 0.3
GAVE_UP = "gave_up_after_crashes"


@dataclass
class Tally:
    """The ends of the chats by kind, violations, and the longest silence of each in seconds."""

    ended: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)
    cuts: int = 0

    def count(self, kind: str) -> None:
        self.ended[kind] = self.ended.get(kind, 0) + 1


class Requesters(ABC):
    """Clients that each send one request after the other.

    ``lost_since`` says whether Redis has lost its data since a time, ``killed_since`` whether it
    may have lost its last moments, and with them a job that it had just accepted. ``cancelled``
    are the jobs that were cancelled through RQ.
    """

    def __init__(
        self,
        where: Where,
        rng: random.Random,
        lost_since: Callable[[float], bool],
        killed_since: Callable[[float], bool],
        cancelled: Collection[str] = (),
    ) -> None:
        self.tally = Tally()
        self._where = where
        self._rng = rng
        self._lost_since = lost_since
        self._killed_since = killed_since
        self._cancelled = cancelled
        self._stopping = False
        self._number = 0

    def stop(self) -> None:
        """Send no new request; the answers under way are read to their end."""
        self._stopping = True

    async def run(self, count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._make_requests())

    async def _make_requests(self) -> None:
        while not self._stopping:
            self._number += 1
            seed, tokens = self._rng.randrange(1 << 40), self._rng.randrange(10, 250)
            await self._request(self._number, seed, tokens)

    @abstractmethod
    async def _request(self, number: int, seed: int, tokens: int) -> None:
        """Send a request, follow it to its end, and tally what came."""


class Clients(Requesters):
    """Clients that send chats. ``checker`` knows what each must say."""

    def __init__(
        self,
        where: Where,
        checker: Checker,
        rng: random.Random,
        lost_since: Callable[[float], bool],
        killed_since: Callable[[float], bool],
        cancelled: Collection[str] = (),
    ) -> None:
        super().__init__(where, rng, lost_since, killed_since, cancelled)
        self._checker = checker

    async def _request(self, number: int, seed: int, tokens: int) -> None:
        deadly = self._rng.random() < DEADLY_SHARE
        chat = Chat(f"{DEADLY if deadly else 'chaos'} {number}", seed=seed, tokens=tokens)
        stopped = self._rng.random() < STOPPED_SHARE
        began = time.monotonic()
        try:
            async with asyncio.timeout(LONGEST_S), asyncio.TaskGroup() as group:
                group.create_task(Client(chat, self._where, self._limits()).run())
                if stopped:
                    group.create_task(self._stop(chat))
        except TimeoutError:
            last = chat.frames[-1:] or chat.refusals[-1:]
            self.tally.violations.append(
                f"{chat.prompt!r} {chat.job_id}: no end in {LONGEST_S:g} s, last {last}"
            )
            return
        await self._check(chat, began, deadly, stopped)

    def _limits(self) -> Callable[[], int | None]:
        return lambda: self._rng.randrange(1, 4000) if self._rng.random() < CUT_SHARE else None

    async def _stop(self, chat: Chat) -> None:
        at = self._rng.randrange(0, chat.tokens)
        while not chat.done and not chat.given_up and not (chat.job_id and chat.cursor >= at):
            await asyncio.sleep(0.02)
        while not chat.done and not chat.given_up:
            with suppress(OSError, TimeoutError):
                if (
                    await ask(self._where(), "POST", f"{CHAT}/stop", {"job_id": chat.job_id})
                ).status == 200:
                    return
            await asyncio.sleep(0.1)

    async def _check(self, chat: Chat, began: float, deadly: bool, stopped: bool) -> None:
        self.tally.cuts += chat.cuts
        self.tally.silences.append(chat.longest_silence)
        if self._lost_since(began):
            self.tally.count("lost with Redis' data")
            return
        code = chat.end.get("code")
        if (chat.given_up == 404 or code == "job_lost") and self._killed_since(began):
            self.tally.count("forgotten by a killed Redis")
            return
        stopped = stopped or chat.job_id in self._cancelled
        # A chat in flight at three crashes in a row without progress is given up: no violation.
        given_up = code == GAVE_UP
        self.tally.count(_kind(chat, deadly, stopped))
        if deadly and not (given_up or stopped):
            self.tally.violations.append(f"{chat.prompt!r} {chat.job_id}: ended with {chat.end}")
        while True:
            with suppress(RedisError):
                expected = GAVE_UP if given_up else None
                wrong = self._checker.check([chat], code=expected, stopped=stopped)
                self.tally.violations += [] if self._lost_since(began) else wrong
                return
            await asyncio.sleep(0.2)


def _kind(chat: Chat, deadly: bool, stopped: bool) -> str:
    if code := chat.end.get("code"):
        return f"failed: {code} ({'deadly' if deadly else 'innocent'})"
    if not chat.done:
        return f"refused with {chat.given_up}"
    return "stopped" if stopped else "whole"
