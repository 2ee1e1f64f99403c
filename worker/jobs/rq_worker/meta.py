"""What RQ's pages show of a chat while it waits and runs, and of one queued again after its end.

Counts, rates and positions, never a text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence as Several
from typing import Any, cast

from redis import Redis

from wire import keys
from wire.log_entries import decode_rows
from wire.messages import Event, Failed, Finished
from wire.queueing import turns
from wire.rq_jobs import DESCRIBE, progress_words, rq_job_key
from wire.worker_status import MOST_SHOWN
from worker.jobs.rq_worker.bookkeeping import Outcome
from worker.sequence import Sequence

NOT_AGAIN = "A chat that has ended is not run again: send it as a new one."
# KEYS: queue, places of its jobs. ARGV: how many to show of it, how names of RQ's jobs begin, then
# job id, meta and words for each that runs. A job that was deleted stays so.
_SHOW = (
    DESCRIBE
    + """
local function show(id, meta, words)
  local job = ARGV[2] .. id
  if redis.call('HEXISTS', job, 'data') == 0 then return end
  redis.call('HSET', job, 'meta', meta)
  describe(job, words)
end
local waiting = {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)) do
  if not redis.call('ZSCORE', KEYS[2], id) then waiting[#waiting + 1] = id end
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1)) do
  if redis.call('LPOS', KEYS[1], id) then waiting[#waiting + 1] = id end
end
for place, id in ipairs(waiting) do
  if place > tonumber(ARGV[1]) then break end
  show(id, '{"state": "queued", "place": ' .. place .. '}', 'queued, place ' .. place)
end
for i = 3, #ARGV, 3 do show(ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
"""
)


def meta_of(sequence: Sequence) -> dict[str, Any]:
    """A chat that runs or has ended, in RQ's ``job.meta``."""
    end, tokens = sequence.end, sequence.position
    if isinstance(end, Failed):
        return {"state": "failed", "code": end.code, "tokens": tokens}
    if isinstance(end, Finished):
        return {"state": "ended", "finish_reason": end.finish_reason, "tokens": tokens}
    rate = round(sequence.timings.tokens_per_second, 1)
    return {"state": "running", "tokens": tokens, "tokens_per_second": rate}


def outcome_of(end: Event | None) -> tuple[Outcome, str]:
    """The outcome and reason that RQ records for an end; FAILED for anything else."""
    if isinstance(end, Finished):
        return Outcome.STOPPED if end.finish_reason == "cancelled" else Outcome.FINISHED, ""
    return Outcome.FAILED, f"{end.code}: {end.message}" if isinstance(end, Failed) else ""


class RqMeta:
    """One a worker; ``publish`` is called every second, and is one round trip."""

    def __init__(self, redis: Redis, queue_key: str) -> None:
        self._redis = redis
        self._names = [queue_key, turns.places(keys.CHAT_QUEUE)]
        self._script = redis.register_script(_SHOW)

    def publish(self, inside: Several[Sequence]) -> None:
        """Renew what is shown of the oldest chats that run and the first that wait."""
        args: list[str | int] = [MOST_SHOWN, rq_job_key("")]
        for sequence in inside[:MOST_SHOWN]:
            meta = meta_of(sequence)
            args += (sequence.job_id, json.dumps(meta), progress_words(meta))
        self._script(keys=self._names, args=args)

    def ended_as(self, job_id: str) -> tuple[Outcome, str]:
        """The outcome that RQ records for a job that was popped although its log has ended.

        A crash came between its end and that record, or it was stopped in the queue, or queued
        again from RQ's pages.
        """
        rows = cast(
            list[tuple[bytes, dict[bytes, bytes]]], self._redis.xrevrange(keys.log(job_id), count=1)
        )
        end = decode_rows(rows)[0].event if rows else None
        kind = cast(bytes | None, self._redis.hget(keys.job(job_id), "kind"))
        if end is None and kind == b"slice":  # It has no log.
            return Outcome.FINISHED, ""
        outcome, reason = outcome_of(end)
        return outcome, f"{reason} {NOT_AGAIN}".strip() if outcome is Outcome.FAILED else ""
