"""How long models stay in memory once they are idle: written here, and read by every worker."""

from __future__ import annotations

import json
from typing import cast

from redis.asyncio import Redis

from wire import keys
from wire.models import ttls


class ModelTtls:
    """The limits of models, by their ids."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, model_id: str, seconds: float | None) -> None:
        """Set a model's limit; None: it has none of its own."""
        if seconds is None:
            await self._redis.hdel(ttls.MODEL_TTLS, model_id)
        else:
            await self._redis.hset(ttls.MODEL_TTLS, model_id, str(seconds))

    async def all(self) -> dict[str, float]:
        """The limits of all models that have one of their own, in seconds."""
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(ttls.MODEL_TTLS))
        return ttls.decode(stored)

    async def expiries(self) -> dict[str, float]:
        """Seconds until idle models are unloaded, of those that have a limit."""
        workers = sorted(cast(set[bytes], await self._redis.smembers(keys.WORKERS)))
        names = [ttls.worker_expiries(name.decode()) for name in workers]
        values = await self._redis.mget(names) if names else []
        return {
            model_id: float(seconds)
            for value in values
            if value is not None
            for model_id, seconds in json.loads(value).items()
        }
