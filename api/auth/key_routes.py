"""Adds, lists and revokes API keys while the service runs; only the answer to an add has a key."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field

from api.auth.key_ring import KeyRing
from api.auth.key_store import Limits
from api.deps import JsonOnly, service
from api.schemas import INTEGRAL, Body
from wire.access.api_keys import OWNER, ROLES, Role, StoredKey
from wire.keys import EVERYONE
from wire.queueing.turns import Tier

router = APIRouter(prefix="/api/engine/keys", tags=["Keys"], dependencies=[JsonOnly])

NO_LIMITS = Limits()
KeysOf = Annotated[KeyRing, service(KeyRing)]


def _nobody(name: str) -> str:
    if name == EVERYONE:
        raise ValueError(f"{EVERYONE} is who has no key")
    return name


Owner = Annotated[
    str,
    AfterValidator(_nobody),
    Field(
        pattern=f"^{OWNER.pattern}$",
        description="Whose key it is: letters, digits, dots and dashes. Keys of one name are one "
        "caller, with one usage and one quota.",
    ),
]
DailyTokens = Annotated[
    int | None,
    Field(
        ge=0,
        le=10**15,
        description="Tokens that requests of this name may use in a day of UTC, prompts and "
        "answers; null: none is set.",
    ),
    INTEGRAL,
]


class NewKey(Body):
    """The key to add."""

    name: Owner
    roles: list[Role] = Field(default=["chat"], min_length=1, max_length=len(ROLES))
    daily_tokens: DailyTokens = None


class Quota(Body):
    """The quota of a name, whose keys may be in the settings; null takes it away."""

    name: Owner
    daily_tokens: DailyTokens


class KeyLimits(Body):
    """The limits in the queue of a name, whose keys may be in the settings; null takes one away."""

    name: Owner
    highest_tier: Tier | None
    most_running: Annotated[int, Field(ge=1, le=10**6), INTEGRAL] | None


class KeyView(BaseModel):
    """A key without its secret. One of the settings has no id and no date, and all roles."""

    id: str | None
    name: str
    roles: list[Role]
    daily_tokens: int | None
    highest_tier: Tier | None = None
    most_running: int | None = None
    created_at: float | None = Field(description="Seconds since the epoch.")


class AddedKey(KeyView):
    """The only answer that has the key."""

    key: str


class LimitsView(BaseModel):
    name: str
    highest_tier: Tier | None
    most_running: int | None


class RevokedKey(BaseModel):
    id: str
    name: str
    revoked: bool = True


class QuotaView(BaseModel):
    name: str
    daily_tokens: int | None


@router.get("")
async def list_keys(ring: KeysOf) -> list[KeyView]:
    """All keys: those of the settings first, then those that were added."""
    quotas = await ring.store.quotas()
    limits = await ring.store.limits()
    configured = [
        KeyView(
            id=None,
            name=name,
            roles=list(ROLES),
            daily_tokens=quotas.get(name),
            created_at=None,
            **limits.get(name, NO_LIMITS)._asdict(),
        )
        for name in ring.configured.owners()
    ]
    return [*configured, *(_view(key, quotas, limits) for key in await ring.store.all())]


@router.post("")
async def add_key(body: NewKey, ring: KeysOf) -> AddedKey:
    """Add a key. It is valid at once, and shown here alone."""
    roles = tuple(role for role in ROLES if role in body.roles)
    stored, key = await ring.store.add(
        body.name, roles, body.daily_tokens, first_is_admin=not ring.configured
    )
    view = _view(stored, await ring.store.quotas(), await ring.store.limits())
    return AddedKey(**view.model_dump(), key=key)


@router.post("/quota")
async def set_quota(body: Quota, ring: KeysOf) -> QuotaView:
    """Set the daily tokens of a name, at once for all its keys and batches."""
    await ring.store.set_quota(body.name, body.daily_tokens)
    return QuotaView(name=body.name, daily_tokens=body.daily_tokens)


@router.post("/limits")
async def set_limits(body: KeyLimits, ring: KeysOf) -> LimitsView:
    """Set the highest class of service of a name, and how many of its chats run at once."""
    await ring.store.set_limits(body.name, Limits(body.highest_tier, body.most_running))
    return LimitsView(
        name=body.name, highest_tier=body.highest_tier, most_running=body.most_running
    )


@router.delete("/{key_id}")
async def revoke_key(key_id: str, ring: KeysOf) -> RevokedKey:
    """Revoke a key: within a second no process takes it any more, and its open streams end.

    Its chats and batches that run go on.
    """
    stored = await ring.store.revoke(key_id, last_is_admin=not ring.configured)
    return RevokedKey(id=stored.id, name=stored.owner)


def _view(key: StoredKey, quotas: dict[str, int], limits: dict[str, Limits]) -> KeyView:
    return KeyView(
        id=key.id,
        name=key.owner,
        roles=list(key.roles),
        daily_tokens=quotas.get(key.owner),
        created_at=key.created_ms / 1000,
        **limits.get(key.owner, NO_LIMITS)._asdict(),
    )
