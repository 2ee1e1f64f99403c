"""What a caller has used, by day and by model; and, for the role admin, what every name has used.

Reads only; the sums are the token log's and the batches'.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, cast

from fastapi import APIRouter
from pydantic import BaseModel
from redis.asyncio import Redis

from api.auth.caller import CallerOf
from api.auth.key_ring import KeyRing
from api.deps import service
from api.monitoring.overview import ModelNames
from api.redis_client import Clients
from api.registry import RegistryReader
from wire import clock, keys
from wire.usage import BY_MODEL, DAY_S, USAGE_OWNERS, Sums, day_of, sums, sums_by_model

DAYS = 30
"""How many days are listed one by one, including today."""

router = APIRouter(tags=["Operations"])

ClientsOf = Annotated[Clients, service(Clients)]
RegistryOf = Annotated[RegistryReader, service(RegistryReader)]
KeysOf = Annotated[KeyRing, service(KeyRing)]


class UsedOfAModel(BaseModel):
    """What the requests for a model came to. ``model`` is its name, or what is left of its id."""

    model: str
    used: Sums


class UsedInADay(BaseModel):
    """What the requests that ended on a day of UTC came to."""

    day: str
    used: Sums
    models: list[UsedOfAModel]


class UsageView(BaseModel):
    """An owner's sums.

    A request counts once, when it has ended, well or not; ``days`` is oldest first, today last.
    ``daily_tokens`` is the quota, which prompt and completion tokens of today count against.
    """

    owner: str
    daily_tokens: int | None
    total: Sums
    models: list[UsedOfAModel]
    days: list[UsedInADay]


class UsageOfAKey(BaseModel):
    """The sums of a name of API keys, all time and today."""

    owner: str
    daily_tokens: int | None
    total: Sums
    today: Sums
    models: list[UsedOfAModel]


@router.get("/api/engine/usage")
async def usage(
    clients: ClientsOf, registry: RegistryOf, ring: KeysOf, caller: CallerOf
) -> UsageView:
    """Your requests and tokens, chats and batch lines: in all, by model and by day for 30 days."""
    redis, owner = clients.waiting, caller.owner
    today = await _today(redis)
    days = range(today - DAYS + 1, today + 1)
    names = [keys.usage(owner), *(keys.usage_day(owner, day) for day in days)]
    [total, *rows] = await _sums(redis, names)
    [models, *by_model] = await _by_model(redis, names, registry)
    by_day = [
        UsedInADay(day=_date(day), used=row, models=used)
        for day, row, used in zip(days, rows, by_model, strict=True)
    ]
    quotas = await ring.store.quotas()
    return UsageView(
        owner=owner, daily_tokens=quotas.get(owner), total=total, models=models, days=by_day
    )


@router.get("/api/engine/usage/keys")
async def usage_of_keys(
    clients: ClientsOf, registry: RegistryOf, ring: KeysOf
) -> list[UsageOfAKey]:
    """What each name of API keys has used, by model, in all and today; most tokens first.

    Names whose keys are gone stay.
    """
    redis, today = clients.waiting, await _today(clients.waiting)
    owners = sorted(name.decode() for name in cast(set[bytes], await redis.smembers(USAGE_OWNERS)))
    totals = await _sums(redis, map(keys.usage, owners))
    days = await _sums(redis, (keys.usage_day(owner, today) for owner in owners))
    models = await _by_model(redis, map(keys.usage, owners), registry)
    quotas = await ring.store.quotas()
    views = [
        UsageOfAKey(
            owner=owner, daily_tokens=quotas.get(owner), total=total, today=day, models=used
        )
        for owner, total, day, used in zip(owners, totals, days, models, strict=True)
    ]
    return sorted(views, key=lambda view: -_tokens(view.total))


async def _today(redis: Redis) -> int:
    return day_of(await clock.now_ms_async(redis) // 1000)


async def _hashes(redis: Redis, names: Iterable[str]) -> list[dict[bytes, bytes]]:
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hgetall(name)
        return cast(list[dict[bytes, bytes]], await pipe.execute())


async def _sums(redis: Redis, names: Iterable[str]) -> list[Sums]:
    return [sums(row) for row in await _hashes(redis, names)]


async def _by_model(
    redis: Redis, names: Iterable[str], registry: RegistryReader
) -> list[list[UsedOfAModel]]:
    """For each of the sums those of its models, most tokens first."""
    models = ModelNames(await registry.models())
    rows = [sums_by_model(row) for row in await _hashes(redis, (name + BY_MODEL for name in names))]
    return [
        sorted(
            (UsedOfAModel(model=models.name(model), used=used) for model, used in row.items()),
            key=lambda one: -_tokens(one.used),
        )
        for row in rows
    ]


def _tokens(used: Sums) -> int:
    return used.prompt_tokens + used.completion_tokens


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_S, UTC).date().isoformat()
