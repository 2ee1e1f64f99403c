"""Sends deliveries, in one API process at a time: each until it is accepted, for up to 72 hours.

A delivery counts as made with a status of 2xx. At least once, always under the same id: a process
that is killed, or that loses its lease while it sends, may send one again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time

from redis.asyncio import Redis
from redis.exceptions import LockError, RedisError

from api.periodic import end, repeat
from api.webhooks.deliveries import Deliveries, Delivery
from api.webhooks.endpoints import Endpoint
from api.webhooks.sender import NotSent, Sender
from api.webhooks.signing import signed
from wire import clock
from wire.webhooks.names import LEASE

_log = logging.getLogger(__name__)

LEASE_S = 5.0
"""Renewed with each look, and left to expire at the end: another process takes over then."""
LOOK_S = 1.0
TRIED_FOR_S = 72 * 3600
FIRST_PAUSE_S, LONGEST_PAUSE_S, FACTOR = 5.0, 6 * 3600.0, 4.0
_IN_A_ROW = 50
"""Deliveries to an endpoint in one turn."""
_ENDPOINTS_AT_ONCE = 16


def pause_s(tries: int) -> float:
    """How long to wait after so many tries, without the random part."""
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * FACTOR ** (min(tries, 10) - 1)))


class Dispatcher:
    """One a process; the one that has the lease sends."""

    def __init__(self, redis: Redis, deliveries: Deliveries, sender: Sender) -> None:
        self._redis = redis
        self._lease = redis.lock(LEASE, timeout=LEASE_S, blocking=False)
        self.deliveries, self.sender = deliveries, sender
        self._turns = asyncio.Semaphore(_ENDPOINTS_AT_ONCE)
        self._sending: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            await repeat(LOOK_S, self.look, "sending webhooks")
        finally:
            await end(*self._sending.values())

    async def look(self) -> None:
        """Collect what has ended, and begin to send what is due to endpoints that are idle."""
        if not await self._has_lease():
            return
        endpoints = await self.deliveries.endpoints.all()
        await self.deliveries.collect(endpoints)
        for endpoint in endpoints:
            if endpoint.id not in self._sending:
                task = asyncio.create_task(self._send_due(endpoint), name="webhooks")
                self._sending[endpoint.id] = task

    async def _has_lease(self) -> bool:
        try:
            if await self._lease.owned():
                return bool(await self._lease.extend(LEASE_S, replace_ttl=True))
            return bool(await self._lease.acquire())
        except LockError:
            return False

    async def _send_due(self, endpoint: Endpoint) -> None:
        """Send what is due, in order, up to the first that isn't accepted."""
        try:
            async with self._turns:
                for delivery in await self.deliveries.due_now(endpoint, _IN_A_ROW):
                    if not await self._send(endpoint, delivery):
                        return
        except RedisError as error:
            # What was sent will be sent again, under its id.
            _log.info("webhooks could not be recorded (%s)", type(error).__name__)
        except Exception:
            _log.exception("sending webhooks failed")
        finally:
            del self._sending[endpoint.id]

    async def _send(self, endpoint: Endpoint, delivery: Delivery) -> bool:
        reason = await self._attempt(endpoint, delivery.id, delivery.event.body(delivery.number))
        if reason is None:
            await self.deliveries.end(endpoint, delivery, "delivered")
            return True
        tries = delivery.tries + 1
        pause = pause_s(tries) * random.uniform(0.8, 1.2)
        since_ms = await clock.now_ms_async(self._redis) - delivery.ended_ms
        about = {"endpoint": endpoint.id, "webhook_id": delivery.id, "reason": reason}
        if since_ms / 1000 + pause > TRIED_FOR_S:
            await self.deliveries.end(endpoint, delivery, "failed")
            _log.warning("webhook given up", extra=about | {"tries": tries})
        else:
            later = delivery.model_copy(update={"tries": tries})
            await self.deliveries.put_off(endpoint, later, pause)
            _log.info("webhook not accepted", extra=about | {"tries": tries, "again_s": pause})
        return False

    async def _attempt(self, endpoint: Endpoint, webhook_id: str, body: bytes) -> str | None:
        """Send something once. Why it wasn't accepted, in a few words; None if it was."""
        try:
            status = await self.status(endpoint, webhook_id, body)
        except NotSent as error:
            return str(error)
        return None if 200 <= status < 300 else f"status {status}"

    async def status(self, endpoint: Endpoint, webhook_id: str, body: bytes) -> int:
        """Send something once, and the status that came back. Raises NotSent."""
        headers = signed(webhook_id, int(time.time()), body, endpoint.secret)
        return await self.sender.post(
            endpoint.url, headers | {"Content-Type": "application/json"}, body
        )
