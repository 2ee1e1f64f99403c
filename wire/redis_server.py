"""Whether a Redis server will do: new enough, and one that never throws accepted jobs away."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

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
