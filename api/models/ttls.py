"""How long models stay in memory once they are idle: written here, and read by every worker."""

from __future__ import annotations

import json
import math
from typing import cast

from redis.asyncio import Redis

from api.registry import RegistryReader
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


async def unload_times(registry: RegistryReader) -> dict[str, float]:
    """Seconds until idle models are unloaded, of those that have a limit: by the first worker that
    will."""
    found: dict[str, float] = {}
    for told in filter(None, (await registry.of_workers(ttls.worker_expiries)).values()):
        for model_id, seconds in json.loads(told).items():
            found[model_id] = min(float(seconds), found.get(model_id, math.inf))
    return found
