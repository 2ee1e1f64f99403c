"""Wakes workers that wait for a chat which may start, while some owner has a limit.

Without limits a worker waits for the queue's list. With one, chats may wait of which none may
start, until another ends or the limit is changed. So whatever may let one start is told in a
stream, and a worker waits for an entry behind the last that was there when it looked at the queue:
none is missed that comes in between. What is told by no process of this release (RQ's tools, an API
of the release before) is found at the next look.
"""

from __future__ import annotations

from typing import Any

from redis import Redis

from wire import keys
from wire.access.limits import MOST_RUNNING

MAY_START = keys.PREFIX + "may-start"
"""Stream of one entry, the last; absent until there is a limit."""
TELL = f"""
local function tell_may_start()
  if redis.call('EXISTS', '{MOST_RUNNING}') == 1 then
    redis.call('XADD', '{MAY_START}', 'MAXLEN', 1, '*', 'may', 'start')
  end
end
"""
"""Lua: wakes them, where there are limits."""
LAST_TOLD = f"""
local function last_told()
  local last = redis.call('XREVRANGE', '{MAY_START}', '+', '-', 'COUNT', 1)[1]
  return last and last[1] or '0-0'
end
"""
"""Lua: what :func:`wait` waits behind."""


def tell(pipe: Any) -> None:
    """The same in a transaction. Before an entry that takes the last limit away."""
    pipe.eval(TELL + "tell_may_start()", 0)


def wait(redis: Redis, last_told: bytes, seconds: float) -> None:
    """Wait until something is told, for this long at most."""
    redis.xread({MAY_START: last_told}, block=int(seconds * 1000))
