"""The endpoints in Redis, with the secrets that sign what is sent to them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from api.errors import ApiError
from api.webhooks.events import Event, EventType
from api.webhooks.signing import new_secret
from wire import clock
from wire.messages import TolerantRecord
from wire.webhooks.names import ENDPOINTS

MOST = 20
"""Endpoints of one owner."""


class Endpoint(TolerantRecord):
    """Where an owner's ends are told, or everybody's; ``url`` has been checked for its shape."""

    id: str
    owner: str
    name: str
    url: str
    event_types: tuple[EventType, ...]
    all_keys: bool
    secret: str
    created_ms: int

    def wants(self, event: Event) -> bool:
        return event.type in self.event_types and (self.all_keys or event.owner == self.owner)


class EndpointStore:
    """The endpoints that all API processes share."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def all(self) -> list[Endpoint]:
        """Everybody's, newest first."""
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(ENDPOINTS))
        return sorted(map(_read, stored.values()), key=lambda one: (-one.created_ms, one.id))

    async def of(self, owner: str) -> list[Endpoint]:
        """An owner's, newest first."""
        return [one for one in await self.all() if one.owner == owner]

    async def find(self, endpoint_id: str, owner: str) -> Endpoint:
        """An owner's endpoint. Raises ApiError ``not_found``."""
        stored = cast(bytes | None, await self._redis.hget(ENDPOINTS, endpoint_id))
        if stored is None or (endpoint := _read(stored)).owner != owner:
            raise ApiError("not_found", "There is no such webhook endpoint.")
        return endpoint

    async def add(
        self, owner: str, name: str, url: str, event_types: Sequence[EventType], *, all_keys: bool
    ) -> Endpoint:
        """A new endpoint. Raises ApiError ``conflict`` for an owner that has too many."""
        endpoint = Endpoint(
            id=f"we_{secrets.token_hex(12)}",
            owner=owner,
            name=name,
            url=url,
            event_types=tuple(dict.fromkeys(event_types)),
            all_keys=all_keys,
            secret=new_secret(),
            created_ms=await clock.now_ms_async(self._redis),
        )

        async def add(pipe: Pipeline) -> None:
            there = cast(dict[bytes, bytes], await cast(Any, pipe.hgetall(ENDPOINTS)))
            if sum(_read(one).owner == owner for one in there.values()) >= MOST:
                raise ApiError("conflict", f"There are {MOST} endpoints already: delete one first.")
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.hset(ENDPOINTS, endpoint.id, endpoint.model_dump_json())

        await self._redis.transaction(add, ENDPOINTS)
        return endpoint

    def remove(self, endpoint: Endpoint, pipe: Pipeline) -> None:
        """Add an endpoint's end to a transaction."""
        pipe.hdel(ENDPOINTS, endpoint.id)


def _read(stored: bytes) -> Endpoint:
    return Endpoint.model_validate_json(stored)
