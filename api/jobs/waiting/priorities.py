"""Classes of service by the names that requests have for them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Header

from wire.queueing.turns import Tier

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
