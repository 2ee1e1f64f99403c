"""Requests of ended chats, kept as long as their logs and within a budget, so that they can be run
again.

The script that writes a chat's end keeps its request as RQ has it, before RQ's record is closed: a
chat that has ended well has both, whichever process wrote the end. Images are not in it, only their
hashes.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from wire import keys
from wire.messages import ChatJob
from wire.rq_jobs import arguments, rq_job_key

BUDGET = "replay_bytes"
"""Field of the record of a chat whose request is kept: the budget for all requests, in bytes."""
REQUESTS = keys.PREFIX + "requests"
"""Sorted set: ``<job id> <bytes>`` of a kept request -> Redis time in milliseconds of its end."""
REQUESTS_TOTAL = keys.PREFIX + "requests-total"
"""Integer: the sum of these bytes."""
REPLAYS = keys.PREFIX + "replays"
"""Hash: ``identical`` and ``differs`` -> how many replays did so, ever since Redis began."""
OVERHEAD = 512
"""Bytes added to each request's size, so that the number of small ones is limited, too."""


def request(job_id: str) -> str:
    """The request of an ended chat: the arguments of its RQ job, as RQ packs them."""
    return f"{keys.PREFIX}request:{job_id}"


KEEP_REQUEST = f"""
local function keep_request(job, id)
  local budget = tonumber(redis.call('HGET', job, '{BUDGET}') or 0)
  if budget == 0 then return end
  local data = redis.call('HGET', '{rq_job_key("")}' .. id, 'data')
  if not data or #data + {OVERHEAD} > budget then return end
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local total = tonumber(redis.call('GET', '{REQUESTS_TOTAL}') or 0) + #data + {OVERHEAD}
  local function drop(member)
    local whose, size = string.match(member, '^(%S+) (%d+)$')
    redis.call('DEL', '{request("")}' .. whose)
    redis.call('ZREM', '{REQUESTS}', member)
    total = total - size
  end
  local expired = now - {keys.LOG_LIFETIME_S * 1000}
  for _, one in ipairs(redis.call('ZRANGEBYSCORE', '{REQUESTS}', 0, expired)) do drop(one) end
  while total > budget do
    local oldest = redis.call('ZRANGE', '{REQUESTS}', 0, 0)[1]
    if not oldest then break end
    drop(oldest)
  end
  redis.call('SET', '{request("")}' .. id, data, 'EX', {keys.LOG_LIFETIME_S})
  redis.call('ZADD', '{REQUESTS}', now, id .. ' ' .. #data + {OVERHEAD})
  redis.call('EXPIRE', '{REQUESTS}', {keys.LOG_LIFETIME_S})
  redis.call('SET', '{REQUESTS_TOTAL}', string.format('%.0f', total), 'EX', {keys.LOG_LIFETIME_S})
end
"""
"""Lua: keeps the request of a chat whose record has a budget, for which the oldest go."""

# KEYS: job, request. ARGV: job id. Also of a chat that has not ended yet.
FORGET_REQUEST = f"""
redis.call('HDEL', KEYS[1], '{BUDGET}')
local size = redis.call('STRLEN', KEYS[2])
if size == 0 then return end
redis.call('DEL', KEYS[2])
if redis.call('ZREM', '{REQUESTS}', ARGV[1] .. ' ' .. size + {OVERHEAD}) == 1 then
  redis.call('DECRBY', '{REQUESTS_TOTAL}', size + {OVERHEAD})
end
"""


def forget(redis: Any, job_id: str) -> Any:
    """Drop a chat's request, or see to it that none is kept. To be awaited if the client waits."""
    return redis.eval(FORGET_REQUEST, 2, keys.job(job_id), request(job_id), job_id)


def read(job_id: str, stored: bytes) -> ChatJob | None:
    """The chat that was kept; None for what can't be read, such as a later release's."""
    try:
        job = ChatJob.model_validate(arguments(stored).get("job"))
    except ValidationError:
        return None
    return job if job.job_id == job_id else None
