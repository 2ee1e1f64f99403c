"""Releases jobs whose time has come: out of RQ's registry of scheduled jobs, into their queue.

Synchronous; knows nothing of HTTP.
"""

from __future__ import annotations

from typing import cast

from redis import Redis

from api.errors import ApiError
from wire import clock, keys
from wire.queueing import may_start, turns
from wire.queueing.schedule import LONGEST_S, QUEUED, scheduled_key
from wire.rq_jobs import queue_key, rq_job_key

_AT_ONCE = 500
# KEYS: places, turns taken, scheduled jobs, queue, job, RQ's job. ARGV: job id, the field of its
# class, of since when it waits, and now in ms. One that was ended with RQ's tools stays
# ended; a process of the release before may have put it in the queue already.
_RELEASE = (
    turns.JOIN
    + may_start.TELL
    + """
if redis.call('ZREM', KEYS[3], ARGV[1]) == 0 then return 0 end
if redis.call('HGET', KEYS[6], 'status') ~= 'queued' then return 0 end
if redis.call('LPOS', KEYS[4], ARGV[1]) then return 0 end
local about = redis.call('HMGET', KEYS[5], 'owner', ARGV[2])
redis.call('HSET', KEYS[5], ARGV[3], ARGV[4])
redis.call('RPUSH', KEYS[4], ARGV[1])
join(ARGV[1], about[1] or '', about[2] or 'default')
tell_may_start()
return 1
"""
)


def check_time(not_before_ms: int, now_ms: float) -> None:
    """Raises ApiError for a time that is too far away."""
    if not_before_ms > now_ms + LONGEST_S * 1000:
        days = LONGEST_S // (24 * 3600)
        raise ApiError("invalid_request", f"It is more than {days} days ahead.", param="not_before")


class ScheduledJobs:
    """The chats and slices of batches that wait for their time."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._release = redis.register_script(_RELEASE)

    def release_due(self) -> None:
        now = clock.now_ms(self._redis)
        for queue in (keys.CHAT_QUEUE, keys.BATCH_QUEUE):
            scheduled = scheduled_key(queue)
            due = self._redis.zrangebyscore(scheduled, 0, now / 1000, start=0, num=_AT_ONCE)
            for raw in cast(list[bytes], due):
                job_id = raw.decode()
                names = [*turns.join_keys(queue), scheduled, queue_key(queue)]
                names += [keys.job(job_id), rq_job_key(job_id)]
                self._release(keys=names, args=[job_id, turns.TIER, QUEUED, now])
