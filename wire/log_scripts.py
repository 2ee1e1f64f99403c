"""The two scripts of the token log: taking a job up, and writing one engine step.

They run inside Redis, so that a lease and what is written under it can't fall apart.
"""

from __future__ import annotations

from wire.usage import COUNT_USAGE

# KEYS: log, attempt, job. ARGV: lifetime of the attempt key.
BEGIN = """
local log, attempt, job = KEYS[1], KEYS[2], KEYS[3]
if redis.call('EXISTS', job) == 0 then return {-1} end
local number = redis.call('GET', attempt)
if number and string.sub(number, 1, 6) == 'ended:' then return {-2} end
number = redis.call('INCR', attempt)
redis.call('EXPIRE', attempt, ARGV[1])
redis.call('HSET', job, 'state', 'running')
return {number, redis.call('XRANGE', log, '-', '+')}
"""
# A log's length is its last sequence number: nothing is ever cut from it, and numbers have no gaps.
# Lifetimes are renewed now and then, not with every token. The end of a job is counted, and noted
# among the recent ones, with its writing: once, whoever writes it. KEYS: recent, ended, then log,
# attempt, job and live for each entry. ARGV: channel, log lifetime, attempt lifetime, how many
# recent ends to keep, how keys of usage begin, then attempt, sequence number, entry and how it ends
# the log (empty: it doesn't; else the name, prompt, completion and cached tokens) for each. Answers
# one number an entry: 1 written, 2 was there already, 0 refused, -1 when Redis has forgotten what
# this attempt wrote or even that it began.
APPEND = (
    COUNT_USAGE
    + """
local answer, published = {}, {}
for i = 1, (#KEYS - 2) / 4 do
  local log, attempt, job, live = KEYS[4*i-1], KEYS[4*i], KEYS[4*i+1], KEYS[4*i+2]
  local mine, number, entry, ends = ARGV[4*i+2], tonumber(ARGV[4*i+3]), ARGV[4*i+4], ARGV[4*i+5]
  local holder = redis.call('GET', attempt)
  answer[i] = 0
  if holder == mine or holder == 'ended:' .. mine then
    local length = redis.call('XLEN', log)
    if number <= length then
      answer[i] = 2
    elseif number == length + 1 and holder == mine then
      redis.call('XADD', log, number .. '-' .. mine, 'e', entry)
      if ends ~= '' then
        local id = string.match(job, '[^:]+$')
        redis.call('SET', attempt, 'ended:' .. mine)
        redis.call('HSET', job, 'state', 'ended')
        redis.call('ZREM', live, id)
        local about = redis.call('HMGET', job, 'kind', 'queue', 'model_id', 'owner')
        if about[1] and about[1] ~= 'model' then
          local name, prompt, completion, cached = string.match(ends, '^(%S+) (%d+) (%d+) (%d+)$')
          redis.call('HINCRBY', KEYS[2], name, 1)
          if about[4] and about[4] ~= '' then
            local total = ARGV[5] .. about[4]
            local day = math.floor(redis.call('TIME')[1] / 86400)
            count_usage(total, total .. ':' .. day, {1, prompt, completion, cached})
          end
          redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[4], '*',
            'job', id, 'queue', about[2] or '', 'model', about[3] or '', 'e', entry)
        end
      end
      if ends ~= '' or number % 32 == 1 then
        redis.call('EXPIRE', log, ARGV[2])
        redis.call('EXPIRE', attempt, ARGV[3])
      end
      published[#published + 1] = entry
      answer[i] = 1
    elseif holder == mine then
      answer[i] = -1
    end
  elseif redis.call('EXISTS', job) == 1
      and (not holder or (tonumber(holder) or tonumber(mine)) < tonumber(mine)) then
    answer[i] = -1
  end
end
if #published > 0 then redis.call('PUBLISH', ARGV[1], table.concat(published, '\\n')) end
return answer
"""
)
