"""Stopping chats, queued or running: the API marks the job, and ends it if no worker has it.

Synchronous, for threads. Knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from redis import Redis

from api.jobs.reaper import JobReaper
from wire import clock, keys
from wire.queueing import turns
from wire.queueing.schedule import scheduled_key
from wire.rq_jobs import queue_key

# KEYS: job, cancel, queue, stopping, places in the queue, scheduled jobs. ARGV: job id, lifetime of
# the cancel key, now in ms, the owner whose job alone may be stopped, or nothing. Returns 1 when
# the job was removed from its queue and is the caller's to end, 0 when a worker has it, -1 when
# there is nothing to stop.
_STOP = """
local state = redis.call('HGET', KEYS[1], 'state')
if not state or state == 'ended' then return -1 end
if ARGV[4] ~= '' and redis.call('HGET', KEYS[1], 'owner') ~= ARGV[4] then return -1 end
redis.call('SET', KEYS[2], '1', 'EX', ARGV[2])
local taken = redis.call('LREM', KEYS[3], 1, ARGV[1])
if redis.call('ZREM', KEYS[6], ARGV[1]) == 1 then taken = 1 end
if taken == 1 then
  redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
  redis.call('ZREM', KEYS[5], ARGV[1])
end
return taken
"""
_REMOVED, _NOTHING_TO_STOP = 1, -1


class JobCanceller:
    """Writes cancel keys; the worker that runs a job looks them up between tokens."""

    def __init__(self, redis: Redis, reaper: JobReaper) -> None:
        self._redis = redis
        self._reaper = reaper
        self._script = redis.register_script(_STOP)

    def stop_all(self, owner: str) -> None:
        """Stop all chats of an owner."""
        live = cast(list[bytes], self._redis.zrange(keys.live(owner), 0, -1))
        self._mark([job_id.decode() for job_id in live])
        for job_id in live:
            if not self.stop_one(job_id.decode()):
                self._redis.zrem(keys.live(owner), job_id)

    def stop(self, job_id: str, owner: str = "") -> None:
        """Stop one job, of this owner if one is named; of several choices the first stops all."""
        about = self._redis.hmget(keys.job(job_id), "owner", "choices")
        whose, choices = (value or b"" for value in cast(list[bytes | None], about))
        if not choices or owner not in ("", whose.decode()):
            self.stop_one(job_id, owner)
            return
        ids = self._unended(choices.decode().split())
        self._mark(ids)
        for one in ids:
            self.stop_one(one, owner)

    def _unended(self, job_ids: Sequence[str]) -> list[str]:
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hget(keys.job(job_id), "state")
        states = pipe.execute()
        return [
            job_id
            for job_id, state in zip(job_ids, states, strict=True)
            if state not in (None, b"ended")
        ]

    def _mark(self, job_ids: Sequence[str]) -> None:
        """Write the cancel keys of jobs that will all be stopped: otherwise each slot that a stop
        frees takes up the next of them."""
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.set(keys.cancel(job_id), 1, ex=keys.CANCEL_LIFETIME_S)
        pipe.execute()

    def stop_one(self, job_id: str, owner: str = "") -> bool:
        """Stop one job alone. Whether there was something to stop."""
        queue = queue_key(keys.CHAT_QUEUE)
        outcome = self._script(
            keys=[
                keys.job(job_id),
                keys.cancel(job_id),
                queue,
                keys.STOPPING,
                turns.places(keys.CHAT_QUEUE),
                scheduled_key(keys.CHAT_QUEUE),
            ],
            args=[job_id, keys.CANCEL_LIFETIME_S, clock.now_ms(self._redis), owner],
        )
        if outcome == _REMOVED:
            self._reaper.end_cancelled(job_id)
        return bool(outcome != _NOTHING_TO_STOP)
