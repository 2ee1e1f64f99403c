"""API keys that were added while the service ran, as Redis holds them for all API processes.

A key is ``sk-mlxq-<id>-<secret>``. Redis has its SHA-256 alone: a secret of 256 random bits can't
be guessed from its digest, so a slow hash, which protects passwords that people choose, would only
make every request slower.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Literal

from redis.exceptions import RedisError

from wire.keys import PREFIX
from wire.messages import TolerantRecord
from wire.redis_server import connect_once

API_KEYS = PREFIX + "api-keys"
"""Hash: id of an API key -> what is known of it, JSON. Never the key: its SHA-256."""
Role = Literal["chat", "models", "admin"]
ROLES: tuple[Role, ...] = ("chat", "models", "admin")
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names of keys, which are the owners of what their requests make."""
KEY_ID = re.compile("[0-9a-f]{12}")
_KEY = re.compile(rb"sk-mlxq-([0-9a-f]{12})-[A-Za-z0-9_-]{43}")


class StoredKey(TolerantRecord):
    """An API key in Redis. ``digest`` is the SHA-256 of the whole key in hex."""

    id: str
    owner: str
    roles: tuple[Role, ...]
    digest: str
    created_ms: int


def new_key(owner: str, roles: tuple[Role, ...], now_ms: int) -> tuple[StoredKey, str]:
    """A new key: what is stored of it, and the key, which is nowhere else."""
    key_id = secrets.token_hex(6)
    key = f"sk-mlxq-{key_id}-{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    return StoredKey(id=key_id, owner=owner, roles=roles, digest=digest, created_ms=now_ms), key


def id_in(key: bytes) -> str | None:
    """The id that a key of this kind has in it; None for any other key."""
    match = _KEY.fullmatch(key)
    return None if match is None else match[1].decode()


def any_stored(url: str) -> bool | None:
    """Whether the Redis at ``url`` has such keys; None if it can't be asked."""
    try:
        with connect_once(url) as redis:
            return bool(redis.exists(API_KEYS))
    except (RedisError, OSError, ValueError):
        return None
