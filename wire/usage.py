"""What the requests of an owner come to: the sums, and the piece of a script that adds to them.

It runs inside the scripts that write an end or a result, so that both are there or neither:
whatever those write once is counted once. Knows neither chats nor batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wire import keys
from wire.messages import Usage

DAY_S = 24 * 3600
USAGE_OWNERS = keys.PREFIX + "usage-owners"
"""Set: the owners of whose requests there are sums."""
BY_MODEL = ":models"
"""Behind the name of sums: the same by model, fields are ``<what is counted> <model id>``."""

# For the sums of all time and of a day, and those of a model: requests, prompt tokens, completion
# tokens, cached tokens.
COUNT_USAGE = f"""
local function count_usage(owner, total, day, model, sums)
  redis.call('SADD', '{USAGE_OWNERS}', owner)
  for n, name in ipairs({{'requests', 'prompt_tokens', 'completion_tokens', 'cached_tokens'}}) do
    local more = tonumber(sums[n])
    if more > 0 then
      for _, sum in ipairs({{total, day}}) do
        redis.call('HINCRBY', sum, name, more)
        if model ~= '' then
          redis.call('HINCRBY', sum .. '{BY_MODEL}', name .. ' ' .. model, more)
        end
      end
    end
  end
  redis.call('EXPIRE', day, {keys.USAGE_DAY_LIFETIME_S})
  redis.call('EXPIRE', day .. '{BY_MODEL}', {keys.USAGE_DAY_LIFETIME_S})
end
"""


@dataclass(frozen=True, slots=True)
class Sums:
    """What some requests came to."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


def sums(stored: Mapping[bytes, bytes]) -> Sums:
    """The sums as their hash has them; an absent one is 0."""
    return Sums(**{name.decode(): int(value) for name, value in stored.items()})


def sums_by_model(stored: Mapping[bytes, bytes]) -> dict[str, Sums]:
    """The sums of each model, by its id, as their hash has them."""
    rows: dict[str, dict[bytes, bytes]] = {}
    for field, value in stored.items():
        name, _, model = field.partition(b" ")
        rows.setdefault(model.decode(), {})[name] = value
    return {model: sums(row) for model, row in rows.items()}


def day_of(seconds: float) -> int:
    """The day of UTC, counted from 1970-01-01, of a Unix time."""
    return int(seconds // DAY_S)


def encode_usage(usage: Usage) -> str:
    """One request as the scripts take it apart again."""
    return f"{usage.prompt_tokens} {usage.completion_tokens} {usage.cached_tokens}"
