"""How many tokens an owner may still use today, by the sums of usage.

Prompt and completion tokens count, as in ``usage.total_tokens``, cached ones among them, so that
the number is the one that clients see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wire import keys
from wire.usage import DAY_S

DAILY_TOKENS = keys.PREFIX + "daily-tokens"
"""Hash: owner -> the tokens that its requests may use in a day of UTC."""
# KEYS: quotas. ARGV: owner, how keys of usage begin. Answers nothing for an owner without a quota,
# else the tokens that are left and the seconds until the day's end.
_LEFT = f"""
local quota = redis.call('HGET', KEYS[1], ARGV[1])
if not quota then return {{}} end
local now = tonumber(redis.call('TIME')[1])
local day = ARGV[2] .. ARGV[1] .. ':' .. math.floor(now / {DAY_S})
local used = redis.call('HMGET', day, 'prompt_tokens', 'completion_tokens')
local spent = (tonumber(used[1]) or 0) + (tonumber(used[2]) or 0)
return {{tonumber(quota) - spent, {DAY_S} - now % {DAY_S}}}
"""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a quota; below 0 after requests that ran when it was used up."""

    left: int
    resets_s: int


def ask(client: Any, owner: str) -> Any:
    """The question to a Redis client, blocking or not, or to a pipeline that watches."""
    return client.eval(_LEFT, 1, DAILY_TOKENS, owner, keys.usage(""))


def read(answer: Any) -> Allowance | None:
    """What the answer says; None for an owner without a quota."""
    return Allowance(int(answer[0]), int(answer[1])) if answer else None
