"""Browser sessions: a random token in a cookie, its digest in Redis with the id of the API key.

The cookie holds no key, and a session ends with its key. Knows nothing of requests.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import cast

from redis.asyncio import Redis

from api.auth.api_keys import ApiKey
from api.auth.key_ring import KeyRing
from wire import keys

COOKIE = "mlxq_session"
_TOKEN = re.compile("[A-Za-z0-9_-]{43}")


class Sessions:
    """The sessions in Redis, which all API processes share."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def begin(self, key: ApiKey) -> str:
        """A new session of a key's owner; returns the token for the cookie."""
        token = secrets.token_urlsafe(32)
        await self._redis.set(_name(token), key.key_id, ex=keys.SESSION_LIFETIME_S)
        return token

    async def key_of(self, token: str, ring: KeyRing) -> ApiKey | None:
        """The key that a session was started with, if both are still valid."""
        if _TOKEN.fullmatch(token) is None:
            return None
        key_id = cast(bytes | None, await self._redis.get(_name(token)))
        return None if key_id is None else await ring.with_id(key_id.decode())

    async def end(self, token: str) -> None:
        if _TOKEN.fullmatch(token) is not None:
            await self._redis.delete(_name(token))


def _name(token: str) -> str:
    return keys.session(hashlib.sha256(token.encode()).hexdigest())
