"""The script by which a worker takes the next job of a queue, in the order of wire.queueing.turns.

It moves the job to the popped ones, where RQ's own pop would, so that a crash in between loses
nothing. It looks at the first places of each class, whatever the queue's length.
"""

from __future__ import annotations

from wire import keys
from wire.access.limits import MOST_RUNNING
from wire.queueing.may_start import LAST_TOLD
from wire.queueing.schedule import QUEUED
from wire.queueing.turns import (
    AGED_S,
    AGED_SHARE,
    PLACES_OF_CLASS,
    TIERS,
    places,
    turns_started,
    turns_taken,
)

_PAGE = 64
"""Jobs that are looked at together while some have to stay."""
_LEAVE = f"""
local function leave(job)
  redis.call('ZREM', places, job.id)
  local turn = math.floor(job.place - job.class * {PLACES_OF_CLASS})
  local running = tonumber(redis.call('HGET', turns, job.class)) or 0
  redis.call('HSET', turns, job.class, math.max(running, turn))
end
"""
"""Lua: drops a job's place. Its turn is the one that is running now, or has been."""
_STAYS = f"""
local limited = redis.call('EXISTS', limits) == 1
local page = (limited or ARGV[3]) and {_PAGE} or 1
local full, passed_over = {{}}, {{}}
for i = 3, #ARGV do passed_over[ARGV[i]] = true end
local function is_passed_over(id)
  return ARGV[3] and passed_over[redis.call('HGET', jobs .. id, 'owner')]
end
local function count(owner)
  local run = 0
  for _, id in ipairs(redis.call('ZRANGE', live .. owner, 0, -1)) do
    if redis.call('HGET', jobs .. id, 'state') == 'running' then run = run + 1 end
  end
  for _, id in ipairs(redis.call('LRANGE', popped, 0, -1)) do
    local about = redis.call('HMGET', jobs .. id, 'owner', 'state')
    if about[1] == owner and about[2] ~= 'running' then run = run + 1 end
  end
  return run
end
local function stays(id)
  if is_passed_over(id) then return true end
  if not limited then return false end
  local owner = redis.call('HGET', jobs .. id, 'owner')
  local most = owner and tonumber(redis.call('HGET', limits, owner))
  if not most then return false end
  if full[owner] == nil then full[owner] = count(owner) >= most end
  return full[owner]
end
"""
"""Lua: whether a job's owner is passed over, or as many of its chats run as may, with those that
are about to."""
_PUT_BACK = """
local function put_back()
  for _, id in ipairs(redis.call('LRANGE', queue, 0, page - 1)) do
    if redis.call('ZSCORE', places, id) then return nil end
    if not is_passed_over(id) then return id end
  end
end
"""
"""Lua: the first job without a place, of those at the list's head. Limits are not for these."""
_FIRST = f"""
local function first(class)
  local from = class * {PLACES_OF_CLASS}
  local to = '(' .. string.format('%.0f', (class + 1) * {PLACES_OF_CLASS})
  local passed = 0
  while true do
    local found =
      redis.call('ZRANGE', places, from, to, 'BYSCORE', 'LIMIT', passed, page, 'WITHSCORES')
    if not found[1] then return nil end
    for i = 1, #found, 2 do
      local job = {{id = found[i], class = class, place = tonumber(found[i + 1])}}
      if stays(job.id) then
        passed = passed + 1
      elseif redis.call('LPOS', queue, job.id) then
        return job
      else
        leave(job) -- Stopped, deleted, or popped by another release.
      end
    end
  end
end
"""
"""Lua: the first job of a class that may start."""
_CHOOSE = f"""
local function waits_since(job)
  local times = redis.call('HMGET', jobs .. job.id, '{QUEUED}', 'submitted_ms')
  return tonumber(times[1] or times[2])
end
local function choose()
  local chosen, oldest
  local since = (redis.call('TIME')[1] - {AGED_S}) * 1000
  for class = 0, {len(TIERS) - 1} do
    local job = first(class)
    chosen = chosen or job
    local came = job and waits_since(job)
    if came and came <= since then oldest, since = job, came end
  end
  if not chosen then return nil end
  local number = redis.call('INCR', started)
  return oldest and number % {AGED_SHARE} == 0 and oldest or chosen
end
"""
"""Lua: the job whose turn it is; now and then the longest waiting of those that are aged."""
TAKE = f"""
local queue, popped, places, turns, started, limits = unpack(KEYS)
local jobs, live = unpack(ARGV)
{LAST_TOLD + _LEAVE + _STAYS + _PUT_BACK + _FIRST + _CHOOSE}
if redis.call('EXISTS', queue) == 0 then
  redis.call('DEL', places, turns)
  return limited and {{last_told()}} or nil
end
local id = put_back()
if not id then
  local job = choose()
  if not job then return {{last_told()}} end
  leave(job)
  id = job.id
end
redis.call('LREM', queue, 1, id)
redis.call('RPUSH', popped, id)
return id
"""
"""Lua: answers the job that was taken, or nothing for an empty queue, whose list is to be waited
for. While some owner has a limit what comes there might not be allowed to run: if none may start
now, the answer is a list of what was told last. Works on :func:`take_keys`, and takes
:data:`TAKE_ARGUMENTS` and then the owners whose jobs are passed over, if any."""
TAKE_ARGUMENTS = (keys.job(""), keys.live(""))
"""How names of jobs and of owners' live chats begin."""


def take_keys(queue: str, waiting: str, popped: str) -> list[str]:
    """What :data:`TAKE` works on, of a queue whose lists have these names."""
    # Limits are those of chats.
    limits = MOST_RUNNING if queue == keys.CHAT_QUEUE else f"{MOST_RUNNING}:{queue}"
    return [waiting, popped, places(queue), turns_taken(queue), turns_started(queue), limits]
