"""Classes of service by the names that requests have for them."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import Depends, Header
from redis.asyncio import Redis

from api.errors import ApiError
from api.jobs.policy import AskedTier
from wire.access.limits import HIGHEST_TIER
from wire.keys import EVERYONE
from wire.queueing.turns import TIERS, Tier

Priority = Literal["low", "normal", "high"]
TIER_OF: dict[Priority, Tier] = {"low": "flex", "normal": "default", "high": "priority"}
PRIORITY_OF = {tier: priority for priority, tier in TIER_OF.items()}

ServiceTier = Literal["auto", "default", "flex", "priority"]
HEADER = "X-Service-Tier"


class TierHeaders:
    """The class of a request that names none itself, for clients whose bodies can't be changed.

    ``X-Task`` names what a web UI asks for behind its user's back, such as a title; Open WebUI
    fills it in.
    """

    def __init__(
        self,
        tier: Annotated[ServiceTier | None, Header(alias=HEADER)] = None,
        task: Annotated[str | None, Header(alias="X-Task")] = None,
    ) -> None:
        self.asked: AskedTier | None = None
        if tier is not None and tier != "auto":
            self.asked = AskedTier(tier, HEADER)
        elif task:
            self.asked = AskedTier("flex", "X-Task")


TierHeadersOf = Annotated[TierHeaders, Depends(TierHeaders)]


async def tier_for(redis: Redis, asked: AskedTier | None, owner: str) -> Tier:
    """The class of service that an owner's request gets.

    Raises ApiError ``forbidden``, with the field's name, for one above the owner's highest.
    """
    tier: Tier = "default" if asked is None else asked.tier
    if owner == EVERYONE:
        return tier
    kept = cast(bytes | None, await redis.hget(HIGHEST_TIER, owner))
    highest = cast(Tier, "priority" if kept is None else kept.decode())
    if TIERS.index(tier) >= TIERS.index(highest):
        return tier
    if asked is None:
        return highest
    sentence = f"{asked.param} asks for {tier}: the highest class of this API key is {highest}."
    raise ApiError("forbidden", sentence, param=asked.param)
