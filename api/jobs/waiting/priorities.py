"""Classes of service by the names that requests have for them."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import Depends, Header
from redis.asyncio import Redis

from api.errors import ApiError
from wire.access.limits import HIGHEST_TIER
from wire.keys import EVERYONE
from wire.queueing.turns import TIERS, Tier

Priority = Literal["low", "normal", "high"]
TIER_OF: dict[Priority, Tier] = {"low": "flex", "normal": "default", "high": "priority"}
PRIORITY_OF = {tier: priority for priority, tier in TIER_OF.items()}

AskedTier = Literal["auto", "default", "flex", "priority"]


class TierHeaders:
    """The class of a request that names none itself, for clients whose bodies can't be changed.

    ``X-Task`` names what a web UI asks for behind its user's back, such as a title; Open WebUI
    fills it in.
    """

    def __init__(
        self,
        tier: Annotated[AskedTier | None, Header(alias="X-Service-Tier")] = None,
        task: Annotated[str | None, Header(alias="X-Task")] = None,
    ) -> None:
        asked = None if tier == "auto" else tier
        self.tier: Tier | None = asked or ("flex" if task else None)


TierHeadersOf = Annotated[TierHeaders, Depends(TierHeaders)]


async def tier_for(redis: Redis, asked: Tier | None, owner: str) -> Tier:
    """The class of service that an owner's request gets.

    Raises ApiError ``forbidden`` for one above the owner's highest.
    """
    tier: Tier = asked or "default"
    if owner == EVERYONE:
        return tier
    kept = cast(bytes | None, await redis.hget(HIGHEST_TIER, owner))
    highest = cast(Tier, "priority" if kept is None else kept.decode())
    if TIERS.index(tier) >= TIERS.index(highest):
        return tier
    if asked is None:
        return highest
    sentence = f"The highest class of service of this API key is {highest}."
    raise ApiError("forbidden", sentence, param="service_tier")
