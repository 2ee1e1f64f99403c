"""Redis time, the one clock that all processes share."""

from __future__ import annotations

from redis import Redis
from redis.asyncio import Redis as AsyncRedis


def milliseconds(reply: tuple[int, int]) -> float:
    """A reply to TIME, in milliseconds since the epoch."""
    seconds, microseconds = reply
    return int(seconds) * 1000 + int(microseconds) / 1000


def now_ms(redis: Redis) -> int:
    """Redis time in whole milliseconds."""
    return int(milliseconds(redis.time()))


async def now_ms_async(redis: AsyncRedis) -> int:
    """The same for the event loop."""
    return int(milliseconds(await redis.time()))
