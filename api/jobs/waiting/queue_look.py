"""Looks at the queue: where each chat stands in it, how long that may take, what holds it up.

Reads Redis. Knows nothing of HTTP, and of RQ only names.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

from redis.asyncio import Redis

from api.registry import read_status
from wire import keys
from wire.queueing import turns
from wire.rq_jobs import SUSPENDED, queue_key

Held = Literal["suspended", "no_worker"]
"""Why a job makes no progress: queues are suspended in RQ, or no worker responds that would run
it."""
POSITIONS_S = 0.5
"""How long one look at the queue serves all requests for a position."""


class Place(NamedTuple):
    """A waiting chat's position, counted from 1, what holds the queue up, and how long its turn may
    take, in seconds, if nothing does."""

    position: int
    held: Held | None
    wait_s: float


def wait_s(recent: Sequence[bytes], slots: int, position: int) -> float:
    """The seconds until so many chats have got a slot, if they take as long as the last ones."""
    mean = sum(map(float, recent)) / len(recent) if recent else 1.0
    return position * mean / max(1, slots)


class Living(NamedTuple):
    """Whether workers live, and how many slots they have together as far as that can be read."""

    there: bool
    slots: int


class QueueLook:
    """One look serves all streams that want to know: a search for each would cost a full queue's
    length."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._positions: dict[str, int] = {}
        self._recent: list[bytes] = []
        self._living = Living(False, 0)
        self._suspended = False
        self._until = 0.0
        self._looking = asyncio.Lock()

    async def place(self, job_id: str) -> Place | None:
        """Where a chat stands; None for one that doesn't wait."""
        async with self._looking:
            if time.monotonic() >= self._until:
                self._until = time.monotonic() + POSITIONS_S
                await self._look()
        position = self._positions.get(job_id)
        if position is None:
            return None
        held: Held | None
        held = "suspended" if self._suspended else None if self._living.there else "no_worker"
        return Place(position, held, wait_s(self._recent, self._living.slots, position))

    async def _look(self) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.lrange(queue_key(keys.CHAT_QUEUE), 0, -1)
            pipe.zrange(turns.places(keys.CHAT_QUEUE), 0, -1)
            pipe.exists(SUSPENDED)
            pipe.lrange(keys.RECENT_RATE, 0, keys.RECENT_RATE_LENGTH - 1)
            ids, places, suspended, self._recent = await pipe.execute()
        ordered = enumerate(turns.in_order(ids, places), 1)
        self._positions = {value.decode(): position for position, value in ordered}
        self._suspended, self._living = bool(suspended), await self.living()

    async def living(self) -> Living:
        """The workers that respond."""
        names = cast(set[bytes], await self._redis.smembers(keys.WORKERS))
        status = [keys.worker_status(name.decode()) for name in names]
        told = cast(list[bytes | None], await self._redis.mget(status)) if status else []
        living = [one for one in told if one is not None]
        slots = (worker.slots for one in living for worker in read_status(one))
        return Living(bool(living), sum(slots))
