"""Stops jobs that no client reads any more, whichever process their readers were connected to.

The times after which jobs are stopped are kept in Redis, so that they survive an API process. Knows
nothing of streams or RQ.
"""

from __future__ import annotations

import time
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.jobs.queue import ABANDONED_AFTER_S, JobQueue
from api.jobs.relay import Relay
from api.periodic import repeat
from wire import clock, keys

ROUND_S = 2.0
_AT_ONCE = 100


class DisconnectWatcher:
    """Postpones the stop of jobs that are read here, and stops jobs that are read nowhere."""

    def __init__(
        self,
        redis: Redis,
        relay: Relay,
        jobs: JobQueue,
        round_s: float = ROUND_S,
        window_s: float = ABANDONED_AFTER_S,
    ) -> None:
        self._redis = redis
        self._relay = relay
        self._jobs = jobs
        self._round_s = round_s
        self._window_s = window_s
        self._stops_from = 0.0

    async def note(self, job_ids: list[str]) -> None:
        """Somebody reads these jobs.

        Those that go on without readers, or have ended, are not concerned.
        """
        if job_ids:
            deadline = await clock.now_ms_async(self._redis) + int(self._window_s * 1000)
            await self._redis.zadd(keys.ABANDONED_AFTER, dict.fromkeys(job_ids, deadline), xx=True)

    async def run(self) -> None:
        """Go round until cancelled."""
        self._postpone_stops()
        await repeat(self._round_s, self._round, "stopping chats without readers")

    async def _round(self) -> None:
        try:
            await self.note(self._relay.jobs())
            if time.monotonic() >= self._stops_from:
                await self._stop_abandoned()
            await self._jobs.settle_all()
        except RedisError:
            self._postpone_stops()
            raise

    def _postpone_stops(self) -> None:
        # After a start or an outage readers need time to reconnect before their absence means
        # anything.
        self._stops_from = time.monotonic() + self._window_s

    async def _stop_abandoned(self) -> None:
        now = await clock.now_ms_async(self._redis)
        overdue = cast(
            list[bytes],
            await self._redis.zrangebyscore(keys.ABANDONED_AFTER, 0, now, start=0, num=_AT_ONCE),
        )
        for job_id in overdue:
            await self._jobs.stop_one(job_id.decode())
            await self._redis.zrem(keys.ABANDONED_AFTER, job_id)
