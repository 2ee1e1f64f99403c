"""An owner's batches or files: a sorted set of ids, and a hash for each.

Knows the fields of neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from redis.asyncio import Redis

Record = TypeVar("Record")


async def newest(
    redis: Redis,
    index: str,
    key: Callable[[str], str],
    decode: Callable[[str, dict[bytes, bytes]], Record | None],
    most: int,
) -> list[Record]:
    """The newest ``most`` records of ``index``; ids of expired hashes are removed from it."""
    ids = [value.decode() for value in cast(list[bytes], await redis.zrevrange(index, 0, most - 1))]
    async with redis.pipeline(transaction=False) as pipe:
        for one in ids:
            pipe.hgetall(key(one))
        rows = await pipe.execute()
    records = [decode(one, row) for one, row in zip(ids, rows, strict=True)]
    expired = [one for one, record in zip(ids, records, strict=True) if record is None]
    if expired:
        await redis.zrem(index, *expired)
    return [record for record in records if record is not None]
