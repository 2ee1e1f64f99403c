"""Which waiting job runs next: by class of service, and in a class by turns of its owners.

RQ's list remains the queue: it says which jobs wait. Beside it a sorted set has each job's place,
whose highest digits are its class and the next ones its turn. Turns are start-time fair queueing
(Goyal, Vin, Cheng 1996) with jobs of equal weight: an owner's next job has the turn after its last
one's, but none before the turn that is running. So of two owners one has a job between any two of
the other's, however many either has put in the queue.

A job that waits for long is aged: of every few jobs that start, one is the longest waiting of
these, whatever its class. A job without a place goes first once it is at the list's head: model
commands, jobs that are put back, and those of a release that knows no turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from redis.client import Pipeline

from wire import keys
from wire.access.limits import MOST_RUNNING
from wire.queueing.may_start import LAST_TOLD
from wire.queueing.schedule import QUEUED

Tier = Literal["priority", "default", "flex"]
TIERS: tuple[Tier, ...] = get_args(Tier)
"""Classes of service, the first to run first. By OpenAI's names of ``service_tier``."""
TIER = "service_tier"
"""Field of a job's record: its class; absent where it is ``default``."""
AGED_S = 60
"""A job that has waited this long is aged."""
AGED_SHARE = 4
"""Of so many jobs that start one is aged, if any is and a higher class would go first."""
_CLASS = 2**32
"""Places of a class begin at its number times this: room for that many turns."""
_SAME_TURN = 2**19
"""Jobs of one turn run in the order they came; with the others, all that a double can count."""
_PAGE = 64
"""Places that are looked at together while owners have limits."""
_NUMBERS = ", ".join(f"{tier} = '{number}'" for number, tier in enumerate(TIERS))
JOIN = f"""
local function join(id, owner, tier)
  local classes = {{{_NUMBERS}}}
  local class = classes[tier] or classes.default
  local whose = class .. ':' .. owner
  local running = tonumber(redis.call('HGET', KEYS[2], class)) or 0
  local last = tonumber(redis.call('HGET', KEYS[2], whose)) or -1
  local turn = math.max(running, last + 1)
  local number = redis.call('HINCRBY', KEYS[2], 'jobs', 1) % {_SAME_TURN}
  redis.call('HSET', KEYS[2], whose, turn)
  local place = class * {_CLASS} + turn + number / {_SAME_TURN}
  redis.call('ZADD', KEYS[1], string.format('%.17g', place), id)
end
"""
"""Lua: gives a job its place. The first keys are :func:`join_keys`."""
_JOIN = JOIN + "join(ARGV[1], ARGV[2], ARGV[3])"
# KEYS: queue, popped jobs, places, turns taken, how many have started, how many chats of owners may
# run. ARGV: how names of jobs and of live chats begin. Moves the next job to the popped ones and
# answers it, as RQ pops; nothing for an empty queue, whose list is to be waited for. While some
# owner has a limit what comes there might not be allowed to run: if none may start now, the answer
# is a list of what was told last.
TAKE = f"""
{LAST_TOLD}
local limited = redis.call('EXISTS', KEYS[6]) == 1
local head = redis.call('LINDEX', KEYS[1], 0)
if not head then
  redis.call('DEL', KEYS[3], KEYS[4])
  return limited and {{last_told()}} or nil
end
if not redis.call('ZSCORE', KEYS[3], head) then
  return redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT')
end
local function leave(id, class, place)
  redis.call('ZREM', KEYS[3], id)
  local turn = math.floor(place - class * {_CLASS})
  local running = tonumber(redis.call('HGET', KEYS[4], class)) or 0
  redis.call('HSET', KEYS[4], class, math.max(running, turn))
end
local full = {{}}
local function is_full(id)
  local owner = redis.call('HGET', ARGV[1] .. id, 'owner')
  local most = owner and tonumber(redis.call('HGET', KEYS[6], owner))
  if not most then return false end
  if full[owner] == nil then
    local run = 0
    for _, other in ipairs(redis.call('ZRANGE', ARGV[2] .. owner, 0, -1)) do
      if redis.call('HGET', ARGV[1] .. other, 'state') == 'running' then run = run + 1 end
    end
    for _, other in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
      local about = redis.call('HMGET', ARGV[1] .. other, 'owner', 'state')
      if about[1] == owner and about[2] ~= 'running' then run = run + 1 end
    end
    full[owner] = run >= most
  end
  return full[owner]
end
local function first(class)
  local from, to = class * {_CLASS}, '(' .. string.format('%.0f', (class + 1) * {_CLASS})
  local behind, page = 0, limited and {_PAGE} or 1
  while true do
    local found =
      redis.call('ZRANGE', KEYS[3], from, to, 'BYSCORE', 'LIMIT', behind, page, 'WITHSCORES')
    if not found[1] then return nil end
    for i = 1, #found, 2 do
      local one = {{id = found[i], class = class, place = tonumber(found[i + 1])}}
      if limited and is_full(one.id) then
        behind = behind + 1
      elseif redis.call('LPOS', KEYS[1], one.id) then
        return one
      else
        leave(one.id, class, one.place) -- Stopped, deleted, or popped by another release.
      end
    end
  end
end
local chosen, oldest = nil, nil
local since = (redis.call('TIME')[1] - {AGED_S}) * 1000
for class = 0, {len(TIERS) - 1} do
  local one = first(class)
  chosen = chosen or one
  local times = one and redis.call('HMGET', ARGV[1] .. one.id, '{QUEUED}', 'submitted_ms')
  local came = times and tonumber(times[1] or times[2])
  if came and came <= since then oldest, since = one, came end
end
if not chosen then return {{last_told()}} end
local started = redis.call('INCR', KEYS[5])
if oldest and oldest ~= chosen and started % {AGED_SHARE} == 0 then chosen = oldest end
leave(chosen.id, chosen.class, chosen.place)
redis.call('LREM', KEYS[1], 1, chosen.id)
redis.call('RPUSH', KEYS[2], chosen.id)
return chosen.id
"""


def places(queue: str) -> str:
    """Sorted set: waiting job -> its place. Of one that no longer waits it may still be there."""
    return f"{keys.PREFIX}places:{queue}"


def bounds(tier: Tier) -> tuple[int, str]:
    """The places of a class, from the first to before the last, as Redis takes them."""
    number = TIERS.index(tier)
    return number * _CLASS, f"({(number + 1) * _CLASS}"


def _taken(queue: str) -> str:
    """Hash: class -> the turn that is running, class:owner -> the owner's last turn. Dropped with
    the places once the queue is empty."""
    return f"{keys.PREFIX}turns:{queue}"


def _started(queue: str) -> str:
    """Integer: how many jobs have been taken by turns."""
    return f"{keys.PREFIX}turns-started:{queue}"


def join(pipe: Pipeline, queue: str, job_id: str, owner: str, tier: Tier) -> None:
    """Give a job its place, in the transaction that puts it in the queue."""
    pipe.eval(_JOIN, 2, *join_keys(queue), job_id, owner, tier)


def join_keys(queue: str) -> list[str]:
    """What :data:`JOIN` works on."""
    return [places(queue), _taken(queue)]


def leave(pipe: Pipeline, queue: str, job_id: str) -> None:
    """Drop the place of a job that runs: put back, it goes first."""
    pipe.zrem(places(queue), job_id)


def take_keys(queue: str, waiting: str, popped: str) -> list[str]:
    """What :data:`TAKE` works on, of a queue whose lists have these names."""
    # Limits are those of chats.
    limits = MOST_RUNNING if queue == keys.CHAT_QUEUE else f"{MOST_RUNNING}:{queue}"
    return [waiting, popped, places(queue), _taken(queue), _started(queue), limits]


def in_order(waiting: Sequence[bytes], with_place: Sequence[bytes]) -> list[bytes]:
    """The jobs of a queue's list in the order in which they run, if none comes and none is aged.

    ``with_place`` are those that have places, the first to run first.
    """
    there, known = set(waiting), set(with_place)
    placed = [job for job in with_place if job in there]
    return [*(job for job in waiting if job not in known), *placed]
