"""Ends jobs that were removed from the queue, or ended in RQ from outside.

A job whose log has no end goes on for its readers. RQ's tools know nothing of logs, so whoever
looks at a job looks at RQ's status as well, and what is over there gets its end in the log, once.
Synchronous; knows nothing of HTTP.
"""

from __future__ import annotations

import logging
from typing import Any, cast

from redis import Redis
from rq.job import JobStatus

from wire import clock, keys, rq_jobs
from wire.messages import Delta, Failed, Finished, Timings, Usage
from wire.queueing import start_by, turns
from wire.queueing.schedule import FIELD as NOT_BEFORE
from wire.rq_jobs import Closing, executions_key, popped_key, queue_key, rq_job_key
from wire.token_log import ALREADY_THERE, WRITTEN, Append, JobEnded, JobGone, TokenLog

_log = logging.getLogger(__name__)

STOPPING_S = 5
"""What was to stop and hasn't ended after this time is ended here: by a living worker or process it
takes milliseconds."""
LOOK_AGAIN_S = 2
"""How often each job that has not ended is looked at, whether anybody reads it or not."""
ADRIFT_S = 10
"""A job that is queued in RQ and in no list was lost after it was popped, and one that is started
without an execution is run by no worker: they are put back after this time."""
_AT_ONCE = 500
_DELETED = Failed(
    "job_lost", "This chat was deleted from the queue before it ended. Send it again."
)
_EXPIRED = Failed(start_by.EXPIRED, start_by.MESSAGE, param=start_by.PARAM)
EXPIRED_IN_QUEUE = "expired"
"""Field of the record of a chat that is taken out of the queue because it has waited too long."""
_FAILED = Failed("job_lost", "This chat was marked as failed outside the service. Send it again.")

# KEYS: job, RQ's job, cancel, stopping. ARGV: job id, lifetime of the cancel key, now in ms, how
# long a worker has to end it, ms. Answers how it is to be ended now: RQ's status, "missing", or
# nothing when it goes on or has ended. First every worker is told to stop it: one that runs it, or
# takes it up at this moment, ends it itself.
_OVER = """
local about = redis.call('HMGET', KEYS[1], 'state', 'kind')
if not about[1] or about[1] == 'ended' or about[2] == 'slice' then return '' end
local status = redis.call('HGET', KEYS[2], 'status')
if status == 'queued' or status == 'started' then return '' end
redis.call('SET', KEYS[3], '1', 'EX', ARGV[2])
redis.call('ZADD', KEYS[4], 'NX', ARGV[3], ARGV[1])
local waited = tonumber(ARGV[3]) - tonumber(redis.call('ZSCORE', KEYS[4], ARGV[1]))
if about[1] == 'running' and waited < tonumber(ARGV[4]) then return '' end
return status or 'missing'
"""
# KEYS: jobs that have not ended, jobs that are being stopped, the queue, its popped jobs. ARGV: now
# in ms, how long ago a job was looked at last, how many to look at, how long one may be adrift, how
# names of jobs, of RQ's jobs and of their executions begin. Answers the jobs that are over for RQ.
# Puts back what is adrift.
_LOOK = """
local over, listed = {}, nil
local now = tonumber(ARGV[1])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], 0, now - ARGV[2], 'LIMIT', 0, ARGV[3])) do
  local job = ARGV[5] .. id
  local about = redis.call('HMGET', job, 'state', 'adrift_ms')
  if not about[1] or about[1] == 'ended' then
    redis.call('ZREM', KEYS[1], id)
  else
    redis.call('ZADD', KEYS[1], now, id)
    local status = redis.call('HGET', ARGV[6] .. id, 'status')
    local adrift = false
    if status == 'queued' then
      if not listed then
        listed = {}
        for i = 3, 4 do
          for _, there in ipairs(redis.call('LRANGE', KEYS[i], 0, -1)) do listed[there] = true end
        end
      end
      adrift = not listed[id] and not redis.call('ZSCORE', KEYS[2], id)
    elseif status == 'started' then
      adrift = redis.call('EXISTS', ARGV[7] .. id) == 0
    else
      over[#over + 1] = id
    end
    if adrift and not about[2] then
      redis.call('HSET', job, 'adrift_ms', now)
    elseif adrift and now - about[2] >= tonumber(ARGV[4]) then
      redis.call('HSET', ARGV[6] .. id, 'status', 'queued')
      redis.call('LPUSH', KEYS[3], id)
      redis.call('HDEL', job, 'adrift_ms')
    elseif about[2] and not adrift then
      redis.call('HDEL', job, 'adrift_ms')
    end
  end
end
return over
"""


class JobReaper:
    """Ends jobs in their logs and in RQ. RQ's pages show them for ``kept_s`` more."""

    def __init__(self, redis: Redis, kept_s: int) -> None:
        self._redis = redis
        self._kept_s = kept_s
        self._log = TokenLog(redis)
        self._over = redis.register_script(_OVER)
        self._look = redis.register_script(_LOOK)

    def settle(self, job_id: str) -> None:
        """End a job that is over in RQ and has no end in its log, unless its worker still may."""
        names = [keys.job(job_id), rq_job_key(job_id), keys.cancel(job_id), keys.STOPPING]
        args: list[str | int] = [
            job_id,
            keys.CANCEL_LIFETIME_S,
            clock.now_ms(self._redis),
            STOPPING_S * 1000,
        ]
        status = cast(bytes, self._over(keys=names, args=args)).decode()
        if status:
            self._end_as(job_id, status)

    def settle_all(self) -> None:
        """Look at every job that has not ended, a part of them at a time; end what is over."""
        names = [
            keys.UNENDED,
            keys.STOPPING,
            queue_key(keys.CHAT_QUEUE),
            popped_key(keys.CHAT_QUEUE),
        ]
        args: list[str | int] = [
            clock.now_ms(self._redis),
            LOOK_AGAIN_S * 1000,
            _AT_ONCE,
            ADRIFT_S * 1000,
            keys.job(""),
            rq_job_key(""),
            executions_key(""),
        ]
        for job_id in cast(list[bytes], self._look(keys=names, args=args)):
            self.settle(job_id.decode())

    def finish_interrupted(self) -> None:
        """End jobs that should have stopped a while ago: their worker or process has died."""
        for raw in cast(
            list[bytes],
            self._redis.zrangebyscore(
                keys.STOPPING, 0, clock.now_ms(self._redis) - STOPPING_S * 1000
            ),
        ):
            status = cast(bytes | None, self._redis.hget(rq_job_key(raw.decode()), "status"))
            self._end_as(raw.decode(), "missing" if status is None else status.decode())

    def end_cancelled(self, job_id: str) -> None:
        """End a job that was removed from its queue and that no worker has."""
        self._end_as(job_id, JobStatus.CANCELED.value)

    def end_expired(self, job_id: str) -> None:
        """End a job that was removed from its queue because it has waited too long."""
        self._end_as(job_id, JobStatus.QUEUED.value)

    def close_in_rq(self, job_id: str, queue: str, closing: Closing) -> None:
        """Close a job in RQ that runs nowhere."""
        kind = cast(bytes | None, self._redis.hget(keys.job(job_id), "kind"))
        task = _TASKS.get(kind or b"", keys.CHAT_TASK)
        with self._redis.pipeline(transaction=True) as pipe:
            rq_jobs.close(pipe, job_id, queue, task, closing)
            pipe.execute()

    def _end_as(self, job_id: str, status: str) -> None:
        """End a job in its log first: a worker that starts it afterwards sees the end."""
        expired = self._redis.hexists(keys.job(job_id), EXPIRED_IN_QUEUE)
        if status in (*rq_jobs.WITHDRAWN, *rq_jobs.GOING_ON) and not expired:
            closing = Closing(
                JobStatus.CANCELED,
                self._kept_s,
                meta={"state": "ended", "finish_reason": "cancelled"},
            )
            ended = self._end(job_id, None)
        else:
            event = _EXPIRED if expired else _DELETED if status == "missing" else _FAILED
            meta = {"state": "failed", "code": event.code}
            closing = Closing(
                JobStatus.FAILED, self._kept_s, f"{event.code}: {event.message}", meta
            )
            ended = self._end(job_id, event)
        if ended:
            self.close_in_rq(job_id, keys.CHAT_QUEUE, closing)
        self._redis.zrem(turns.places(keys.CHAT_QUEUE), job_id)
        self._redis.zrem(keys.STOPPING, job_id)

    def _end(self, job_id: str, failed: Failed | None) -> bool:
        """Write a job's end, cancelled unless it failed. Returns whether to close it in RQ here.

        It is not when a worker took the job up meanwhile: that worker sees the cancel key, and ends
        the job.
        """
        about = self._redis.hmget(keys.job(job_id), "owner", "submitted_ms", "model_id", NOT_BEFORE)
        owner, submitted, model, due = (value or b"" for value in cast(list[Any], about))
        try:
            attempt, before = self._log.begin(job_id)
        except (JobEnded, JobGone):
            # Closed already, unless the process that ended it died in between: an open job has no
            # lifetime.
            return self._redis.ttl(rq_job_key(job_id)) < 0
        tokens = sum(
            len(entry.event.token_ids) for entry in before if isinstance(entry.event, Delta)
        )
        waited = clock.now_ms(self._redis) - max(int(submitted or 0), int(due or 0))
        usage, timings = Usage(completion_tokens=tokens), Timings(queue_ms=max(0.0, waited))
        event: Finished | Failed = Finished("cancelled", usage, timings)
        if failed is not None:
            event = Failed(failed.code, failed.message, usage, timings, failed.param)
        [answer] = self._log.append(
            [Append(job_id, owner.decode(), attempt, len(before) + 1, event)]
        )
        if answer not in (WRITTEN, ALREADY_THERE):
            return False
        fields = {
            "job_id": job_id,
            "model": model.decode(),
            "completion_tokens": tokens,
            "queue_ms": timings.queue_ms,
        }
        reason = (
            {"reason": "cancelled"} if failed is None else {"reason": "error", "code": failed.code}
        )
        _log.info("chat ended", extra=fields | reason)
        return True


_TASKS = {b"chat": keys.CHAT_TASK, b"model": keys.MODEL_TASK, b"slice": keys.BATCH_TASK}
