"""Ends chats that have waited for longer than they may.

A worker that starts one too late ends it as well; this is for those that no worker starts.
Synchronous; knows nothing of HTTP.
"""

from __future__ import annotations

from typing import cast

from redis import Redis

from api.jobs.reaper import EXPIRED_IN_QUEUE, JobReaper
from wire import clock, keys
from wire.queueing import turns
from wire.queueing.start_by import START_BY
from wire.rq_jobs import queue_key

_AT_ONCE = 500
# KEYS: job, queue, places, chats with a limit, jobs that are being ended. ARGV: job id, now in ms,
# the field that says why it is ended. Answers 1 for one that was taken out of the queue, to be
# ended. One that is queued and not in the list has just been popped, or is put back soon.
_TAKE_OUT = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' then
  redis.call('ZREM', KEYS[4], ARGV[1])
  return 0
end
if redis.call('LREM', KEYS[2], 1, ARGV[1]) == 0 then return 0 end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[3], '1')
redis.call('ZADD', KEYS[5], ARGV[2], ARGV[1])
return 1
"""


class QueueExpiry:
    """Looks through the chats whose time is over."""

    def __init__(self, redis: Redis, reaper: JobReaper) -> None:
        self._redis = redis
        self._reaper = reaper
        self._take_out = redis.register_script(_TAKE_OUT)

    def end_overdue(self) -> None:
        now = clock.now_ms(self._redis)
        overdue = self._redis.zrangebyscore(START_BY, 0, now, start=0, num=_AT_ONCE)
        for raw in cast(list[bytes], overdue):
            job_id = raw.decode()
            names = [
                keys.job(job_id),
                queue_key(keys.CHAT_QUEUE),
                turns.places(keys.CHAT_QUEUE),
                START_BY,
                keys.STOPPING,
            ]
            if self._take_out(keys=names, args=[job_id, now, EXPIRED_IN_QUEUE]):
                self._reaper.end_expired(job_id)
