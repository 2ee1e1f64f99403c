"""Stored responses in Redis: for a day at most, and within a budget, for which the oldest go.

Texts of answers are in the token logs. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from typing import cast

from redis.asyncio import Redis

from api.errors import ApiError
from api.jobs.ids import is_job_id
from api.responses.answer.response_object import ID
from api.responses.stored.record import ResponseRecord, unpacked
from wire import clock, keys

OVERHEAD = 512
"""Bytes added to each record's size, so that the number of small ones is limited, too."""
_LONG = 64 << 10
# KEYS: record, ages, sizes, total. ARGV: job, record, size, budget, now and lifetime in ms, prefix
# of records, when the lifetime begins. Drops what has expired, and then the oldest, until there is
# room.
_PUT = """
local total = tonumber(redis.call('GET', KEYS[4]) or '0')
local size, budget, now = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local function drop(job)
  total = total - tonumber(redis.call('HGET', KEYS[3], job) or '0')
  redis.call('HDEL', KEYS[3], job)
  redis.call('ZREM', KEYS[2], job)
  redis.call('DEL', ARGV[7] .. job)
end
drop(ARGV[1])
local expired = now - tonumber(ARGV[6])
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], 0, expired)) do drop(job) end
while total + size > budget do
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)
  if #oldest == 0 then break end
  drop(oldest[1])
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[6] + ARGV[8] - now)
redis.call('ZADD', KEYS[2], ARGV[8], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], size)
redis.call('SET', KEYS[4], string.format('%.0f', total + size))
return 1
"""
# KEYS: record, ages, sizes, total. ARGV: job. Whether there was such a record.
_DROP = """
local there = redis.call('DEL', KEYS[1])
local size = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or '0')
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if size > 0 then redis.call('DECRBY', KEYS[4], size) end
return there
"""


def unknown(param: str | None = None) -> ApiError:
    return ApiError("not_found", "There is no such response.", param=param)


class ResponseStore:
    """The stored responses. Several processes may use the same Redis."""

    def __init__(self, redis: Redis, budget: int, *, enabled: bool) -> None:
        self.enabled = enabled
        self._redis = redis
        self._budget = budget
        self._put, self._drop = redis.register_script(_PUT), redis.register_script(_DROP)

    async def put(self, job_id: str, record: ResponseRecord, begins_ms: int = 0) -> None:
        """Keep a record, for a day from when its answer begins, if that is later than now. Raises
        ApiError ``too_large`` for one that takes up the whole budget."""
        packed = await asyncio.to_thread(record.packed)
        size = len(packed) + OVERHEAD
        if size > self._budget:
            raise ApiError("too_large", "This conversation is too long to be stored.")
        now, lifetime = await clock.now_ms_async(self._redis), keys.RESPONSE_LIFETIME_S * 1000
        args: list[str | bytes | int] = [
            job_id,
            packed,
            size,
            self._budget,
            now,
            lifetime,
            keys.response(""),
            max(int(now), begins_ms),
        ]
        await self._put(keys=_names(job_id), args=args)

    async def get(self, response_id: str, owner: str, param: str | None = None) -> ResponseRecord:
        """The record of an owner's response. Raises ApiError for any other, naming ``param``."""
        job_id = job_of(response_id, param)
        kept = cast(bytes | None, await self._redis.get(keys.response(job_id)))
        if kept is None:
            raise unknown(param)
        record = unpacked(kept) if len(kept) < _LONG else await asyncio.to_thread(unpacked, kept)
        if record.owner != owner:
            raise unknown(param)
        return record

    async def drop(self, job_id: str) -> None:
        """Forget a response."""
        await self._drop(keys=_names(job_id), args=[job_id])


def job_of(response_id: str, param: str | None = None) -> str:
    """The job that answers a response. Raises ApiError for what is no response's id."""
    job_id = response_id.removeprefix(ID)
    if job_id == response_id or not is_job_id(job_id):
        raise unknown(param)
    return job_id


def _names(job_id: str) -> list[str]:
    return [
        keys.response(job_id),
        keys.RESPONSES,
        keys.RESPONSE_BYTES,
        keys.RESPONSE_BYTES_TOTAL,
    ]
