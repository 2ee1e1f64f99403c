"""What a Redis server must be: reachable, new enough, and one that never drops accepted jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

OLDEST_SERVER = (6, 2)
"""BLMOVE, with which no job is lost between queue and worker, came with 6.2."""


class RedisUnusable(Exception):
    """This Redis can't be used; the message is one line for the operator."""


def numbers(version: str) -> tuple[int, ...]:
    """The first two parts of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def unfit(facts: Mapping[str, Any]) -> str | None:
    """What is wrong with the server that answered INFO with ``facts``; None when nothing is."""
    version = str(facts.get("redis_version", "0"))
    policy = facts.get("maxmemory_policy", "noeviction")
    if numbers(version) < OLDEST_SERVER:
        return f"Redis {version} is too old: 6.2 or newer is needed"
    if policy != "noeviction":
        return (
            f"Redis would drop accepted jobs under maxmemory-policy {policy}: set it to noeviction"
        )
    return None


def connect_once(url: str, timeout_s: float = 2.0) -> Redis:
    """A client without retries, for a check that must say at once whether a server answers."""
    return Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )


def check(url: str) -> None:
    """Raise RedisUnusable unless the server at ``url`` answers and is fit for this service."""
    try:
        client = connect_once(url)
    except ValueError:
        raise RedisUnusable(
            "the Redis URL must look like redis://HOST:PORT/0 or unix:///PATH"
        ) from None
    try:
        facts = client.info()
    except (RedisError, OSError) as error:
        where = client.connection_pool.connection_kwargs
        address = where.get("path") or f"{where.get('host')}:{where.get('port')}"
        raise RedisUnusable(f"Redis at {address} does not answer: {error}") from None
    finally:
        client.close()
    if problem := unfit(facts):
        raise RedisUnusable(problem)
