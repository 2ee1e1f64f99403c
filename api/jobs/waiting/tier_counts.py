"""How many chats wait and run, by class of service. Knows nothing of HTTP, and of RQ only names."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from redis.asyncio import Redis

from wire import keys
from wire.queueing import turns
from wire.queueing.turns import TIERS, Tier
from wire.rq_jobs import started_key


class TierCounts(NamedTuple):
    """Chats by class; each class is there."""

    waiting: dict[Tier, int]
    running: dict[Tier, int]


async def tier_counts(redis: Redis) -> TierCounts:
    """Waiting are those that have a place: not what goes first, as it was put back."""
    places = turns.places(keys.CHAT_QUEUE)
    async with redis.pipeline(transaction=False) as pipe:
        for tier in TIERS:
            pipe.zcount(places, *turns.bounds(tier))
        pipe.zrange(started_key(keys.CHAT_QUEUE), 0, -1)
        *waiting, started = await pipe.execute()
        for execution in started:
            job_id = execution.partition(b":")[0].decode(errors="replace")
            pipe.hmget(keys.job(job_id), "kind", turns.TIER)
        records = await pipe.execute()
    running = Counter(tier or b"default" for kind, tier in records if kind == b"chat")
    return TierCounts(
        dict(zip(TIERS, waiting, strict=True)), {tier: running[tier.encode()] for tier in TIERS}
    )
