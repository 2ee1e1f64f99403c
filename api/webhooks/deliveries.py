"""What has to be sent to whom, and when, in Redis: taken from the outbox, put off, ended, counted.

A delivery's id is worked out from the end and the endpoint, so that whatever is done twice after a
crash is one delivery, or is sent under one id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from redis.asyncio import Redis

from api.webhooks.endpoints import Endpoint, EndpointStore
from api.webhooks.events import Event, EventType, digest, event_of
from wire import clock
from wire.messages import TolerantRecord
from wire.webhooks.names import COUNTS, delivery, due
from wire.webhooks.outbox import OUTBOX

MOST_WAITING = 20_000
"""Deliveries to one endpoint; beyond it new ones are given up."""
KEPT_S = 73 * 3600
"""Longer than anything is tried."""
_AT_ONCE = 100


class Delivery(TolerantRecord):
    """One event on its way to one endpoint. ``number`` stands for the event."""

    id: str
    number: str
    type: EventType
    about: str
    owner: str
    ended_ms: int
    tries: int = 0

    @property
    def event(self) -> Event:
        return Event(self.type, self.about, self.owner, self.ended_ms)


class Deliveries:
    """The deliveries that have not ended."""

    def __init__(self, redis: Redis, endpoints: EndpointStore) -> None:
        self._redis = redis
        self.endpoints = endpoints

    async def collect(self, endpoints: Sequence[Endpoint]) -> None:
        """Turn what is in the outbox into deliveries to these endpoints."""
        while entries := cast(Any, await self._redis.xrange(OUTBOX, count=_AT_ONCE)):
            now = await clock.now_ms_async(self._redis)
            full = [one for one in endpoints if await self.waiting(one.id) > MOST_WAITING]
            async with self._redis.pipeline(transaction=True) as pipe:
                for raw_id, fields in entries:
                    entry = {name.decode(): value.decode() for name, value in fields.items()}
                    event = event_of(raw_id.decode(), entry)
                    for endpoint in endpoints:
                        if event is None or not endpoint.wants(event):
                            continue
                        if endpoint in full:
                            pipe.hincrby(COUNTS, "failed", 1)
                            continue
                        one = _delivery(raw_id.decode(), event, endpoint)
                        pipe.set(delivery(one.id), one.model_dump_json(), nx=True, ex=KEPT_S)
                        pipe.zadd(due(endpoint.id), {one.id: now}, nx=True)
                        pipe.expire(due(endpoint.id), KEPT_S)
                    pipe.xdel(OUTBOX, raw_id)
                await pipe.execute()

    async def waiting(self, endpoint_id: str) -> int:
        """How many deliveries to an endpoint have not ended."""
        return int(await self._redis.zcard(due(endpoint_id)))

    async def due_now(self, endpoint: Endpoint, most: int) -> list[Delivery]:
        """What is to be sent to an endpoint now, oldest first."""
        now = await clock.now_ms_async(self._redis)
        ids = cast(
            list[bytes],
            await self._redis.zrangebyscore(due(endpoint.id), 0, now, start=0, num=most),
        )
        if not ids:
            return []
        stored = await self._redis.mget([delivery(raw.decode()) for raw in ids])
        if gone := [raw for raw, row in zip(ids, stored, strict=True) if row is None]:
            await self._redis.zrem(due(endpoint.id), *gone)
        return [Delivery.model_validate_json(row) for row in stored if row is not None]

    async def end(
        self, endpoint: Endpoint, one: Delivery, how: Literal["delivered", "failed"]
    ) -> None:
        """Forget a delivery, and count it."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(delivery(one.id))
            pipe.zrem(due(endpoint.id), one.id)
            pipe.hincrby(COUNTS, how, 1)
            await pipe.execute()

    async def put_off(self, endpoint: Endpoint, one: Delivery, seconds: float) -> None:
        """Try a delivery again after so long. One whose endpoint was removed stays gone."""
        later = await clock.now_ms_async(self._redis) + int(seconds * 1000)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(due(endpoint.id), {one.id: later}, xx=True)
            pipe.set(delivery(one.id), one.model_dump_json(), xx=True, ex=KEPT_S)
            await pipe.execute()

    async def remove(self, endpoint: Endpoint) -> None:
        """Forget an endpoint, and what was to be sent to it."""
        ids = cast(list[bytes], await self._redis.zrange(due(endpoint.id), 0, -1))
        async with self._redis.pipeline(transaction=True) as pipe:
            self.endpoints.remove(endpoint, cast(Any, pipe))
            pipe.delete(due(endpoint.id), *(delivery(raw.decode()) for raw in ids))
            await pipe.execute()


def _delivery(entry_id: str, event: Event, endpoint: Endpoint) -> Delivery:
    number = digest(entry_id, event.id)
    return Delivery(
        id=f"wh_{digest(number, endpoint.id)}",
        number=number,
        type=event.type,
        about=event.id,
        owner=event.owner,
        ended_ms=event.ended_ms,
    )
