"""The results of a slice as a worker writes them: each line once, under the slice's lease."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import cast

from redis import Redis

from wire import keys
from wire.batches.packing import unpack
from wire.batches.records import (
    LOST,
    UNREADABLE,
    BatchLine,
    BatchSlice,
    BatchState,
    LineResult,
)
from wire.messages import ErrorCode
from wire.usage import COUNT_USAGE, day_of
from wire.webhooks.outbox import NOTE_END

DEADLY_LINES = "deadly_lines"
"""Field of a batch: how many of its lines were given up after crashes."""

# Ends a slice, and the batch with its last one. A slice is counted once: its attempt key says that
# it has ended.
_END = (
    NOTE_END
    + """
local function end_batch(state)
  redis.call('HSET', KEYS[3], 'state', state, 'ended_ms', ARGV[4])
  redis.call('ZREM', KEYS[9], ARGV[3])
  note_end(KEYS[3], state)
end
local function end_slice()
  redis.call('SET', KEYS[1], 'ended:' .. ARGV[1], 'EX', ARGV[2])
  redis.call('HSET', KEYS[2], 'state', 'ended')
  local freed = redis.call('STRLEN', KEYS[6])
  redis.call('DEL', KEYS[6])
  redis.call('DECRBY', KEYS[7], freed)
  redis.call('HINCRBY', KEYS[8], ARGV[3], 0 - freed)
  redis.call('SREM', KEYS[4], ARGV[7])
  local about = redis.call('HMGET', KEYS[3], 'state', 'total', 'done', 'failed', 'ends_as')
  if about[1] == 'cancelling' then
    if redis.call('SCARD', KEYS[4]) == 0 then end_batch(about[5]) end
  elseif tonumber(about[2]) == tonumber(about[3] or 0) + tonumber(about[4] or 0) then
    end_batch('completed')
  end
end
"""
)
# KEYS: attempt, job, batch, open slices, output, input, total, bytes a batch, open batches, the
# owner's usage and that of the day. ARGV: attempt, lifetime of the attempt key, batch id, now in
# ms, results that the slice will have, whether it ends without the missing ones, the slice's
# number, its owner, then for each result: line, result, whether it failed, prompt tokens,
# completion tokens, cached tokens, reasoning tokens and its model. Answers 1 when the slice has
# ended, 0 when results are missing still, -1 when another worker has the slice or the batch is
# gone.
_WRITE = (
    _END
    + COUNT_USAGE
    + """
local holder = redis.call('GET', KEYS[1])
if holder == 'ended:' .. ARGV[1] then return 1 end
local expires = redis.call('HGET', KEYS[3], 'expires_ms')
if holder ~= ARGV[1] or not expires then return -1 end
local sums, bytes, models = {0, 0, 0, 0, 0, 0}, 0, {}
for i = 9, #ARGV, 8 do
  if redis.call('HSETNX', KEYS[5], ARGV[i], ARGV[i+1]) == 1 then
    bytes = bytes + #ARGV[i+1]
    local failed = tonumber(ARGV[i+2])
    sums[1], sums[2] = sums[1] + 1 - failed, sums[2] + failed
    for n = 3, 6 do sums[n] = sums[n] + tonumber(ARGV[i+n]) end
    local spent = models[ARGV[i+7]] or {0, 0, 0, 0}
    models[ARGV[i+7]], spent[1] = spent, spent[1] + 1
    for n = 2, 4 do spent[n] = spent[n] + tonumber(ARGV[i+n+1]) end
  end
end
for model, spent in pairs(models) do count_usage(ARGV[8], KEYS[10], KEYS[11], model, spent) end
if bytes > 0 then
  redis.call('PEXPIREAT', KEYS[5], expires)
  local names = {
    'done', 'failed', 'prompt_tokens', 'completion_tokens', 'cached_tokens', 'reasoning_tokens'
  }
  for n, name in ipairs(names) do
    if sums[n] > 0 then redis.call('HINCRBY', KEYS[3], name, sums[n]) end
  end
  redis.call('INCRBY', KEYS[7], bytes)
  redis.call('HINCRBY', KEYS[8], ARGV[3], bytes)
end
local missing = tonumber(ARGV[5]) - redis.call('HLEN', KEYS[5])
if ARGV[6] == '1' or missing <= 0 then
  local state = redis.call('HGET', KEYS[3], 'state')
  if missing > 0 and (state == 'queued' or state == 'running') then
    -- Their prompts are gone: they can't be named, and the batch must not wait for them.
    redis.call('HINCRBY', KEYS[3], 'failed', missing)
  end
  end_slice()
  return 1
end
return 0
"""
)
# KEYS: batch. ARGV: now in ms. The first slice that starts starts its batch; answers the batch's
# state.
_STARTED = """
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'queued' then
  state = 'running'
  redis.call('HSET', KEYS[1], 'state', state, 'started_ms', ARGV[1])
end
return state
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A slice that this worker holds the lease on: the lines that have no result yet.

    ``lost`` are results of lines that can't be run, ``deadly`` how many lines of the batch were
    given up after crashes.
    """

    slice: BatchSlice
    attempt: int
    results: int
    state: BatchState
    lines: tuple[BatchLine, ...]
    lost: tuple[LineResult, ...] = ()
    deadly: int = 0


def _nameless(
    count: int, written: AbstractSet[int], error: tuple[ErrorCode, str]
) -> list[LineResult]:
    """Results of so many lines of which nothing is known, under numbers that none has yet."""
    free = [number for number in range(-1, -1 - count - len(written), -1) if number not in written]
    return [LineResult(number, None, error=error) for number in free[: max(0, count)]]


class BatchLog:
    """The worker's side: what is left of a slice, and the results of its lines."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._started = redis.register_script(_STARTED)
        self._write = redis.register_script(_WRITE)

    def take(
        self, work: BatchSlice, attempt: int, now_ms: float, *, read: bool = True
    ) -> Taken | None:
        """What is left to do of a slice whose lease is ours; None when its batch is gone.

        With ``read`` False its prompts are left alone, and all that is left of it is lost.
        """
        batch, number = work.batch_id, work.number
        state = cast(bytes | None, self._started(keys=[keys.batch(batch)], args=[int(now_ms)]))
        with self._redis.pipeline(transaction=False) as pipeline:
            # A byte says that it is there.
            pipeline.getrange(keys.batch_input(batch, number), 0, -1 if read else 0)
            pipeline.hget(keys.batch_plan(batch), str(number))
            pipeline.hkeys(keys.batch_output(batch, number))
            pipeline.hget(keys.batch(batch), DEADLY_LINES)
            stored, plan, there, deadly = pipeline.execute()
        if state is None or plan is None:
            return None
        results, written = int(plan.split()[1]), {int(field) for field in there}
        # A batch that was cancelled has dropped its prompts.
        lines, unreadable = unpack(stored)
        left = tuple(line for line in lines if line.number not in written)
        lost = [line for line in unreadable if line.number not in written]
        lost += _nameless(
            results - len(written) - len(left) - len(lost), written, UNREADABLE if stored else LOST
        )
        return Taken(
            work,
            attempt,
            results,
            cast(BatchState, state.decode()),
            left,
            tuple(lost),
            int(deadly or 0),
        )

    def note_deadly(self, work: BatchSlice) -> None:
        """Count a line that was given up after crashes: the crashes of one batch are limited."""
        if self._redis.hexists(name := keys.batch(work.batch_id), "state"):
            self._redis.hincrby(name, DEADLY_LINES, 1)

    def results_of(self, work: BatchSlice) -> int:
        """How many results a slice will have; 0 when its batch is gone."""
        plan = cast(
            bytes | None, self._redis.hget(keys.batch_plan(work.batch_id), str(work.number))
        )
        return 0 if plan is None else int(plan.split()[1])

    def write(
        self, taken: Taken, results: Sequence[LineResult], now_ms: float, *, cut: bool = False
    ) -> int:
        """Write results; a line that has one keeps it. ``cut`` ends the slice as it is.

        Returns 1 when the slice has ended, 0 when lines are missing, -1 when it isn't this worker's
        any more.
        """
        work = taken.slice
        names = [keys.attempt(work.job_id), keys.job(work.job_id), keys.batch(work.batch_id)]
        names += [keys.batch_slices(work.batch_id), keys.batch_output(work.batch_id, work.number)]
        names += [
            keys.batch_input(work.batch_id, work.number),
            keys.BATCH_BYTES_TOTAL,
            keys.BATCH_BYTES,
        ]
        names += [
            keys.BATCHES_OPEN,
            keys.usage(work.owner),
            keys.usage_day(work.owner, day_of(now_ms / 1000)),
        ]
        args: list[str | int] = [
            taken.attempt,
            keys.RECORD_LIFETIME_S,
            work.batch_id,
            int(now_ms),
            taken.results,
        ]
        args += (int(cut), work.number, work.owner)
        for result in results:
            usage = result.usage
            args += (result.number, result.encode(), int(result.error is not None))
            args += (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
            args += (usage.reasoning_tokens, result.model_id)
        return int(cast(int, self._write(keys=names, args=args)))

    def states(self, batch_ids: Sequence[str]) -> list[str | None]:
        """The states of batches, None for one that is gone."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for batch_id in batch_ids:
                pipeline.hget(keys.batch(batch_id), "state")
            return [None if value is None else value.decode() for value in pipeline.execute()]
