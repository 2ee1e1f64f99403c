"""The bytes that batches and uploaded files may occupy in Redis, shared by all processes.

Each batch and each file is a holder: it reserves bytes while its record exists, and releases them
once the record has expired or was deleted.
"""

from __future__ import annotations

from typing import cast

from redis.asyncio import Redis

from api.errors import ApiError
from wire import keys

_RETRY_WHEN_FULL_S = 60
# KEYS: total, bytes a holder, its record. ARGV: holder, size, limit. Answers 1 when the bytes were
# taken, 0 when there is no room, -1 when there is no such holder (any more).
_RESERVE = """
if redis.call('EXISTS', KEYS[3]) == 0 then return -1 end
local held = tonumber(redis.call('GET', KEYS[1]) or '0')
if held + tonumber(ARGV[2]) > tonumber(ARGV[3]) then return 0 end
redis.call('INCRBY', KEYS[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[1], ARGV[2])
return 1
"""
# KEYS: total, bytes a holder, its record. ARGV: holder. Gives back what one that is gone had taken.
_RELEASE = """
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local held = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DECRBY', KEYS[1], held)
return held
"""


class BatchQuota:
    """Bytes that may be reserved, ``limit`` in all."""

    def __init__(self, redis: Redis, limit: int) -> None:
        self._redis = redis
        self._limit = limit
        self._reserve_script = redis.register_script(_RESERVE)
        self._release_script = redis.register_script(_RELEASE)

    async def reserve(self, holder: str, size: int) -> None:
        """Raises ApiError: ``batches_full`` without enough bytes, ``bad_request`` if the record has
        expired."""
        names = [keys.BATCH_BYTES_TOTAL, keys.BATCH_BYTES, keys.holder(holder)]
        outcome = await self._reserve_script(keys=names, args=[holder, size, self._limit])
        if outcome == 0:
            message = "There is no room for more batches and files. Try again later."
            raise ApiError("batches_full", message, _RETRY_WHEN_FULL_S)
        if outcome == -1:
            raise ApiError("bad_request", "The upload took too long.")

    async def release(self, holder: str) -> None:
        """Release the bytes of a holder whose record no longer exists."""
        names = [keys.BATCH_BYTES_TOTAL, keys.BATCH_BYTES, keys.holder(holder)]
        await self._release_script(keys=names, args=[holder])

    async def sweep(self) -> None:
        """Release the bytes of all holders whose records no longer exist."""
        for holder in cast(list[bytes], await self._redis.hkeys(keys.BATCH_BYTES)):
            await self.release(holder.decode())
