"""Jobs in RQ's own records, as API and worker write them: names, enqueueing, closing.

Closing goes by plain entries in Redis. RQ's own end of a job would import and call what the job's
callback fields name, send its webhooks, and queue jobs that depend on it; anybody who can write to
Redis can fill in those fields.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.client import Pipeline
from rq import Queue, Retry
from rq.executions import ExecutionRegistry
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job, JobStatus
from rq.registry import (
    CanceledJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    StartedJobRegistry,
)
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.suspension import WORKERS_SUSPENDED
from rq.utils import current_timestamp, now, utcformat

from wire import keys
from wire.batches import BatchSlice
from wire.messages import ChatJob, ModelCommand
from wire.queueing import may_start, turns
from wire.queueing.schedule import schedule
from wire.queueing.turns import Tier
from wire.versions import VERSION

SUSPENDED = WORKERS_SUSPENDED
"""Exists while `rq suspend` holds."""
GOING_ON = (JobStatus.QUEUED.value, JobStatus.STARTED.value)
"""RQ's states of a job that will still be ended. This service gives a job no other status before
its end."""
WITHDRAWN = (JobStatus.CANCELED.value, JobStatus.STOPPED.value)
"""RQ's states of a job that was ended on purpose."""
_NO_TIMEOUT = -1
"""The engine keeps deadlines; RQ's would be raised in the wrong thread."""
_ABANDONED_RETRIES = 100
"""RQ counts every abandonment as a failure; whether a job kills its workers is the worker's to
judge, sooner."""
_REGISTRIES = {
    JobStatus.FINISHED: FinishedJobRegistry.key_template,
    JobStatus.FAILED: FailedJobRegistry.key_template,
    JobStatus.STOPPED: FailedJobRegistry.key_template,  # as RQ does it
    JobStatus.CANCELED: CanceledJobRegistry.key_template,
}
_KEPT = ("created_at", "enqueued_at", "started_at", "origin", "description", "worker_name")
"""Fields that a closed job keeps. With the others goes all that RQ's tools could go on with."""
DESCRIBE = """
local function describe(job, words)
  local name = redis.call('HGET', job, 'description')
  if not name then return end
  name = string.gsub(name, ' %[[^%[%]]*%]$', '')
  redis.call('HSET', job, 'description', name .. ' [' .. words .. ']')
end
"""
"""Lua: puts words behind a job's description, in place of those that are there."""
# KEYS: job, results, the registry it belongs to, its executions, the other registries. ARGV: job
# id, seconds to keep, now in seconds, words for its description, how many fields to keep, these,
# then fields and values to set. A job that was deleted meanwhile stays so. It is rewritten: a hash
# that has once held a prompt would take several times the memory.
_CLOSE = (
    DESCRIBE
    + """
local now, seconds, fields = tonumber(ARGV[3]), tonumber(ARGV[2]), tonumber(ARGV[5])
for i = 3, #KEYS do
  if i ~= 4 then
    redis.call('ZREM', KEYS[i], ARGV[1])
    redis.call('ZREMRANGEBYSCORE', KEYS[i], 0, now)
  end
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
  redis.call('DEL', string.gsub(KEYS[4], ':executions:', ':execution:', 1) .. ':' .. id)
end
redis.call('DEL', KEYS[2], KEYS[4])
local there = redis.call('HEXISTS', KEYS[1], 'data') == 1
local kept = redis.call('HMGET', KEYS[1], unpack(ARGV, 6, 5 + fields))
redis.call('DEL', KEYS[1])
if seconds <= 0 or not there then return 0 end
for i = 1, fields do
  if kept[i] then redis.call('HSET', KEYS[1], ARGV[5 + i], kept[i]) end
end
if ARGV[4] ~= '' then describe(KEYS[1], ARGV[4]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 6 + fields))
redis.call('EXPIRE', KEYS[1], seconds)
redis.call('ZADD', KEYS[3], now + seconds, ARGV[1])
return 1
"""
)


@dataclass(frozen=True, slots=True)
class Closing:
    """How a job is closed.

    ``reason`` is shown for a failed job; it and ``meta`` hold nothing of the request.

    ``kept_s`` is how long RQ's pages show the job from now on; 0: not at all.
    """

    status: JobStatus
    kept_s: int
    reason: str = ""
    meta: Mapping[str, Any] | None = None


def queue_key(name: str) -> str:
    """The Redis list behind a queue."""
    return f"{Queue.redis_queue_namespace_prefix}{name}"


def popped_key(name: str) -> str:
    """The Redis list of a queue's jobs that have been popped and not started."""
    return str(IntermediateQueue.get_intermediate_queue_key(queue_key(name)))


def started_key(name: str) -> str:
    """The Redis sorted set of a queue's jobs that run: of ``job:execution``."""
    return str(StartedJobRegistry.key_template.format(name))


def rq_job_key(job_id: str) -> str:
    """The Redis hash in which RQ keeps a job."""
    return f"{Job.redis_job_namespace_prefix}{job_id}"


def executions_key(job_id: str) -> str:
    """The Redis sorted set of a job's executions: there while a worker has it as started."""
    return str(ExecutionRegistry.key_template.format(job_id))


def described(model: str, owner: str) -> str:
    """A chat as RQ's pages name it: model and owner, nothing of the text."""
    return f"{model} for {owner}"


def arguments(data: bytes) -> dict[str, Any]:
    """The arguments of a call by name, as RQ packs it into a job; none if they can't be read."""
    try:
        _, _, _, named = JSONSerializer.loads(zlib.decompress(data))
    except (zlib.error, ValueError, TypeError):
        return {}
    return named if isinstance(named, dict) else {}


def progress_words(meta: Mapping[str, Any]) -> str:
    """How a chat gets on, for its description, from its ``meta``; empty if that has no state."""
    state = meta.get("state", "")
    reason = meta.get("finish_reason") or meta.get("code")
    parts = [f"{state}: {reason}" if state and reason else state]
    if state:
        parts.append(f"{meta.get('tokens', 0)} tokens")
    if rate := meta.get("tokens_per_second"):
        parts.append(f"{rate} tokens/s")
    return ", ".join(parts)


def enqueue(
    pipe: Pipeline,
    queue: Queue,
    task: str,
    job: ChatJob | ModelCommand | BatchSlice,
    description: str,
    record: Mapping[str, str],
    now_ms: int,
    tier: Tier = "default",
    not_before_ms: int = 0,
) -> None:
    """Add a new job to a transaction: RQ's part, its turn, and this service's record of it.

    Before the time ``not_before_ms`` it waits for that, and gets its turn then.
    """
    kept_s = keys.SLICE_LIFETIME_S if isinstance(job, BatchSlice) else keys.RQ_LIFETIME_S
    queue.enqueue_call(
        task,
        kwargs={"job": job.model_dump(mode="json"), "version": VERSION},
        timeout=_NO_TIMEOUT,
        result_ttl=kept_s,
        failure_ttl=keys.RQ_LIFETIME_S,
        description=description,
        job_id=job.job_id,
        at_front=isinstance(job, ModelCommand),
        retry=Retry(max=_ABANDONED_RETRIES),
        pipeline=pipe,
    )
    _remember(pipe, queue, job.job_id, record, now_ms, tier)
    if not_before_ms > now_ms:
        schedule(pipe, queue.key, queue.name, job.job_id, not_before_ms)
    elif not isinstance(job, ModelCommand):
        turns.join(pipe, queue.name, job.job_id, job.owner, tier)
    if not isinstance(job, BatchSlice):
        may_start.tell(pipe)
        # Before its time it is in no list, and nobody is to look for it there.
        pipe.zadd(keys.UNENDED, {job.job_id: max(now_ms, not_before_ms)})


def _remember(
    pipe: Pipeline, queue: Queue, job_id: str, record: Mapping[str, str], now_ms: int, tier: Tier
) -> None:
    """Add this service's record of a new job to a transaction."""
    about: dict[Any, Any] = {**record, "queue": queue.name, "submitted_ms": str(now_ms)}
    about |= {"state": "queued", "version": str(VERSION)}
    if tier != "default":
        about[turns.TIER] = tier
    pipe.hset(keys.job(job_id), mapping=about)
    pipe.expire(keys.job(job_id), keys.RECORD_LIFETIME_S)


def enqueue_slice(
    pipe: Pipeline, queue: Queue, work: BatchSlice, now_ms: int, not_before_ms: int = 0
) -> None:
    """Add a slice of a batch to a transaction, also one that was cancelled or failed in RQ."""
    for template in _REGISTRIES.values():
        pipe.zrem(template.format(queue.name), work.job_id)
    record = {"owner": work.owner, "model_id": "", "kind": "slice", "slice": work.model_dump_json()}
    description = f"batch {work.batch_id} for {work.owner}, slice {work.number}"
    enqueue(
        pipe,
        queue,
        keys.BATCH_TASK,
        work,
        description,
        record,
        now_ms,
        not_before_ms=not_before_ms,
    )


def close(pipe: Pipeline, job_id: str, queue: str, task: str, closing: Closing) -> None:
    """Add the end of a job in RQ to a transaction: status, a call without arguments, a lifetime."""
    registry = _REGISTRIES[closing.status].format(queue)
    others = sorted({template.format(queue) for template in _REGISTRIES.values()} - {registry})
    data = zlib.compress(JSONSerializer.dumps([task, None, [], {}]))
    set_to: list[Any] = ["status", closing.status.value, "ended_at", utcformat(now()), "data", data]
    if closing.reason:
        # Not as a result, as RQ does: a stream of one entry takes 4 KB.
        set_to += ["exc_info", zlib.compress(closing.reason.encode())]
    if closing.meta is not None:
        set_to += ["meta", json.dumps(closing.meta, separators=(",", ":"))]
    # RQ's own cancelling takes a running job out of the registries, and leaves what its worker
    # noted of the run.
    executions = executions_key(job_id)
    names = [rq_job_key(job_id), Result.get_key(job_id), registry, executions, *others]
    words = "" if closing.meta is None else progress_words(closing.meta)
    head = [job_id, closing.kept_s, current_timestamp(), words, len(_KEPT), *_KEPT]
    # The text, not its hash: in a transaction there is no way to answer that Redis doesn't know the
    # script any more.
    pipe.eval(_CLOSE, len(names), *names, *head, *set_to)
