"""The cached prompts on workers' disks, as Redis knows them. Reads only."""

from __future__ import annotations

from typing import cast

from redis.asyncio import Redis

from wire import disk_cache, keys
from wire.disk_cache import DiskCacheUse


async def disk_caches(redis: Redis) -> dict[str, DiskCacheUse]:
    """Those of living workers by name; none of a worker of an earlier release."""
    members = cast(set[bytes], await redis.smembers(keys.WORKERS))
    names = sorted(name.decode() for name in members)
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.get(disk_cache.use_key(name))
        values = await pipe.execute()
    return {
        name: DiskCacheUse.model_validate_json(value)
        for name, value in zip(names, values, strict=True)
        if value is not None
    }
