"""Errors of a Redis that answers but refuses: a full disk, a failover, missing rights.

They pass by themselves, like an outage.

redis-py has a class of its own for some of these only, and writes the command before the reason:
that must not be shown.
"""

from __future__ import annotations

import re

from redis.exceptions import RedisError

FULL = frozenset({"MISCONF", "OOM"})
"""What can't be stored: the disk (or a snapshot) fails, or the memory is used up."""
PASSING = FULL | {
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "READONLY",
    "TRYAGAIN",
    "WRONGPASS",
}
"""What an operator or the next moment mends; nothing is wrong with what was asked."""
_IN_A_SCRIPT = re.compile(rf"-({'|'.join(sorted(PASSING))})\b")


def kind(error: RedisError) -> str:
    """The error's name in Redis, else the exception's; nothing of the command."""
    reason = str(error).rpartition("caused error: ")[2]
    word = getattr(error, "status_code", None) or reason.partition(" ")[0].lstrip("-")
    if word in PASSING:
        return str(word)
    # Before version 7 the reason stands inside of the script's own error.
    within = _IN_A_SCRIPT.search(reason) if word == "ERR" else None
    return within[1] if within else type(error).__name__
