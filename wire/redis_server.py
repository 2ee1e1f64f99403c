"""Whether a Redis server will do: new enough, and one that never throws accepted jobs away."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

OLDEST_SERVER = (6, 2)
"""BLMOVE, with which no job is lost between queue and worker, came with 6.2."""


def numbers(version: str) -> tuple[int, ...]:
    """The first two parts of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def unfit(facts: Mapping[str, Any]) -> str | None:
    """What is wrong with the server that answered INFO like this; None when nothing is."""
    version, policy = (
        str(facts.get("redis_version", "0")),
        facts.get("maxmemory_policy", "noeviction"),
    )
    if numbers(version) < OLDEST_SERVER:
        return f"Redis {version} is too old: 6.2 or newer is needed"
    if policy != "noeviction":
        return (
            f"Redis would drop accepted jobs under maxmemory-policy {policy}: set it to noeviction"
        )
    return None


def connect_once(url: str, timeout_s: float = 2.0) -> Redis:
    """A client that does not try again: whoever asks whether a server is there wants to know
    now."""
    return Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )
