"""The API keys in Redis: found by the id in them, compared by digest, remembered for half a second.

So a key that was added is valid at once, and one that was revoked is refused by every process
within that time. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from api.auth.api_keys import ApiKey
from api.errors import ApiError
from wire import clock
from wire.access.api_keys import API_KEYS, KEY_ID, Role, StoredKey, id_in, new_key
from wire.access.limits import HIGHEST_TIER, MOST_RUNNING
from wire.access.quota import DAILY_TOKENS
from wire.queueing import may_start
from wire.queueing.turns import Tier

FRESH_S = 0.5
"""How long an answer of Redis is believed."""
_PATIENCE_S = 0.4
"""For how long a request waits to hear whether there are keys, if there was an answer before. What
it asks of Redis afterwards may take as long as a command may: both have to fail within two seconds.
"""
_MOST_REMEMBERED = 1000


class Limits(NamedTuple):
    """An owner's limits in the queue: its highest class of service, and how many chats run."""

    highest_tier: Tier | None = None
    most_running: int | None = None


class KeyStore:
    """The keys that all API processes share.

    ``there``: whether Redis had any at the start; None if that isn't known. ``clock`` is in
    seconds.
    """

    def __init__(
        self,
        redis: Redis,
        there: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._seen: dict[str, tuple[StoredKey, float]] = {}
        self._any = None if there is None else (there, clock())
        self._asking: asyncio.Task[None] | None = None
        self._asked = 0.0
        """When the last question whether there are keys began."""

    async def find(self, key: bytes) -> ApiKey | None:
        """The key with this value. Digests are compared in constant time."""
        key_id = id_in(key)
        stored = None if key_id is None else await self._get(key_id)
        digest = hashlib.sha256(key).hexdigest()
        if stored is None or not hmac.compare_digest(stored.digest, digest):
            return None
        return _usable(stored)

    async def with_id(self, key_id: str) -> ApiKey | None:
        """The key with this id, unless it was revoked."""
        if KEY_ID.fullmatch(key_id) is None:
            return None
        stored = await self._get(key_id)
        return None if stored is None else _usable(stored)

    async def revoked(self, key_id: str) -> bool:
        """Whether a key that was valid has been revoked; not while Redis can't be asked, since
        nobody can revoke one meanwhile."""
        try:
            return await self._get(key_id) is None
        except RedisError:
            return False

    async def any(self) -> bool:
        """Whether there are keys; the last answer while Redis can't be asked, or answers late."""
        last, now = self._any, self._clock()
        if last is None:
            self._believe(bool(await self._redis.exists(API_KEYS)))
        elif now >= last[1]:
            if self._asking is None or self._asking.done():
                self._asking, self._asked = asyncio.create_task(self._ask_again(last)), now
            left_s = max(0.0, self._asked + _PATIENCE_S - now)
            await asyncio.wait({self._asking}, timeout=left_s)
        # None again if this process has added or revoked a key meanwhile.
        return await self.any() if self._any is None else self._any[0]

    async def _ask_again(self, last: tuple[bool, float]) -> None:
        there = last[0]
        with suppress(RedisError):
            there = bool(await self._redis.exists(API_KEYS))
        if self._any is last:
            self._believe(there)

    def _believe(self, there: bool) -> None:
        self._any = (there, self._clock() + FRESH_S)

    @property
    def may_have_keys(self) -> bool:
        """Whether there are keys, by the last answer; true before there was one."""
        return self._any is None or self._any[0]

    async def all(self) -> list[StoredKey]:
        """All keys, by name and age."""
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(API_KEYS))
        return sorted(map(_read, stored.values()), key=lambda key: (key.owner, key.created_ms))

    async def add(
        self, owner: str, roles: Sequence[Role], daily_tokens: int | None, *, first_is_admin: bool
    ) -> tuple[StoredKey, str]:
        """A new key; returns what is stored, and the key itself.

        ``daily_tokens`` is its owner's quota from now on; None leaves that as it is. Raises
        ApiError ``conflict`` with ``first_is_admin`` for a key that would leave nobody to add
        others.
        """
        stored, key = new_key(owner, tuple(roles), await clock.now_ms_async(self._redis))

        async def add(pipe: Pipeline) -> None:
            there = await _all(pipe)
            if first_is_admin and not _has_admin([*there.values(), stored]):
                raise ApiError(
                    "conflict",
                    "The first key must have the role admin: nobody else could add others.",
                )
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.hset(API_KEYS, stored.id, stored.model_dump_json())
            if daily_tokens is not None:
                pipe.hset(DAILY_TOKENS, owner, str(daily_tokens))

        await self._redis.transaction(add, API_KEYS)
        self._any = None
        return stored, key

    async def revoke(self, key_id: str, *, last_is_admin: bool) -> StoredKey:
        """Forget a key. With its owner's last one go the owner's quota and limits.

        Raises ApiError ``not_found``, and ``conflict`` with ``last_is_admin`` for a key that
        would leave others, and none with the role admin.
        """
        revoked: list[StoredKey] = []

        async def revoke(pipe: Pipeline) -> None:
            there = await _all(pipe)
            if key_id not in there:
                raise ApiError("not_found", "There is no key with this id.")
            revoked[:] = [there.pop(key_id)]
            if last_is_admin and there and not _has_admin(there.values()):
                raise ApiError(
                    "conflict",
                    "No other key has the role admin: revoke the others first, or add one with it.",
                )
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.hdel(API_KEYS, key_id)
            if not any(key.owner == revoked[0].owner for key in there.values()):
                may_start.tell(pipe)
                for name in (DAILY_TOKENS, HIGHEST_TIER, MOST_RUNNING):
                    pipe.hdel(name, revoked[0].owner)

        await self._redis.transaction(revoke, API_KEYS)
        self._seen.pop(key_id, None)
        self._any = None
        return revoked[0]

    async def quotas(self) -> dict[str, int]:
        """The daily tokens of the owners that have such a quota."""
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(DAILY_TOKENS))
        return {owner.decode(): int(tokens) for owner, tokens in stored.items()}

    async def set_quota(self, owner: str, daily_tokens: int | None) -> None:
        """Give an owner a quota, or take it away."""
        if daily_tokens is None:
            await self._redis.hdel(DAILY_TOKENS, owner)
        else:
            await self._redis.hset(DAILY_TOKENS, owner, str(daily_tokens))

    async def limits(self) -> dict[str, Limits]:
        """The limits in the queue of the owners that have such."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(HIGHEST_TIER)
            pipe.hgetall(MOST_RUNNING)
            tiers, numbers = await pipe.execute()
        return {
            owner.decode(): Limits(
                cast(Tier, tiers[owner].decode()) if owner in tiers else None,
                int(numbers[owner]) if owner in numbers else None,
            )
            for owner in {*tiers, *numbers}
        }

    async def set_limits(self, owner: str, limits: Limits) -> None:
        """Give an owner limits in the queue; None takes one away."""
        async with self._redis.pipeline(transaction=True) as pipe:
            may_start.tell(pipe)
            for name, value in zip((HIGHEST_TIER, MOST_RUNNING), limits, strict=True):
                if value is None:
                    pipe.hdel(name, owner)
                else:
                    pipe.hset(name, owner, str(value))
            await pipe.execute()

    async def _get(self, key_id: str) -> StoredKey | None:
        seen = self._seen.get(key_id)
        if seen is not None and self._clock() < seen[1]:
            return seen[0]
        asked = self._clock()
        stored = cast(bytes | None, await self._redis.hget(API_KEYS, key_id))
        if stored is None:
            self._seen.pop(key_id, None)
            return None
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.clear()
        self._seen[key_id] = (_read(stored), asked + FRESH_S)
        return self._seen[key_id][0]


def _read(stored: bytes) -> StoredKey:
    return StoredKey.model_validate_json(stored)


async def _all(pipe: Pipeline) -> dict[str, StoredKey]:
    stored = cast(dict[bytes, bytes], await cast(Any, pipe.hgetall(API_KEYS)))
    return {key_id.decode(): _read(key) for key_id, key in stored.items()}


def _has_admin(stored: Any) -> bool:
    return any("admin" in key.roles for key in stored)


def _usable(stored: StoredKey) -> ApiKey:
    return ApiKey(stored.owner, bytes.fromhex(stored.digest), stored.roles, stored.id)
