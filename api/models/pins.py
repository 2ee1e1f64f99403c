"""Pinning models: the pins are written here, and every worker reads them once a second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from redis.asyncio import Redis

from wire.models import pins
from wire.models.pins import Pin


class ModelPins:
    """The pins of models, by their ids."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @asynccontextmanager
    async def loading(self, model_id: str, pin: Pin, *, anew: bool) -> AsyncIterator[None]:
        """Pin a model while it is loaded, so that it is pinned once it is; as before if that fails.

        Unless it is pinned ``anew`` only the pin of a pinned one is changed.
        """
        before = cast(bytes | None, await self._redis.hget(pins.PINNED_MODELS, model_id))
        if anew or before is not None:
            await self._redis.hset(pins.PINNED_MODELS, model_id, pin.model_dump_json())
        # Somebody wants it now: earlier ends of workers that loaded it count no more.
        await self._redis.hdel(pins.PRELOADS, model_id)
        try:
            yield
        except BaseException:
            if before is not None:
                await self._redis.hset(pins.PINNED_MODELS, model_id, before)
            elif anew:
                await self._redis.hdel(pins.PINNED_MODELS, model_id)
            raise

    async def remove(self, *model_ids: str) -> None:
        """Unpin models; those that aren't pinned are no error."""
        if model_ids:
            await self._redis.hdel(pins.PINNED_MODELS, *model_ids)
