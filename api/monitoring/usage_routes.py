"""What a caller has used: all of it, and the last days.

Reads only; the sums are the token log's and the batches'.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, cast

from fastapi import APIRouter
from pydantic import BaseModel
from redis.asyncio import Redis

from api.auth.caller import CallerOf
from api.deps import service
from api.redis_client import Clients
from wire import clock, keys
from wire.usage import DAY_S, Sums, day_of, sums

DAYS = 30
"""How many days are listed one by one, including today."""

router = APIRouter(tags=["Operations"])


class UsedInADay(BaseModel):
    """What the requests that ended on a day of UTC came to."""

    day: str
    used: Sums


class UsageView(BaseModel):
    """An owner's sums.

    A request counts once, when it has ended, well or not; ``days`` is oldest first, today last.
    """

    owner: str
    total: Sums
    days: list[UsedInADay]


@router.get("/api/engine/usage")
async def usage(clients: Annotated[Clients, service(Clients)], caller: CallerOf) -> UsageView:
    """Your requests and tokens, chats and batch lines: in all, and by day for 30 days."""
    return await _view(clients.waiting, caller.owner)


async def _view(redis: Redis, owner: str) -> UsageView:
    today = day_of(await clock.now_ms_async(redis) // 1000)
    days = range(today - DAYS + 1, today + 1)
    async with redis.pipeline(transaction=False) as pipe:
        for name in (keys.usage(owner), *(keys.usage_day(owner, day) for day in days)):
            pipe.hgetall(name)
        total, *rows = cast(list[dict[bytes, bytes]], await pipe.execute())
    by_day = [
        UsedInADay(day=_date(day), used=sums(row)) for day, row in zip(days, rows, strict=True)
    ]
    return UsageView(owner=owner, total=sums(total), days=by_day)


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_S, UTC).date().isoformat()
