"""Jobs as a worker leaves them in Redis, and a recovery that looks for them."""

from __future__ import annotations

import uuid

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from wire import keys
from wire.messages import Delta
from wire.token_log import Append, TokenLog
from worker.jobs.crashes.recovery import Recovery
from worker.jobs.rq_worker.chat_worker import ChatWorker

HERE, THERE = "here", "there"


def recovering(redis: Redis, queue: Queue, *dead: str) -> Recovery:
    return Recovery(redis, [queue], HERE, lambda name: name in dead)


def submitted(redis: Redis, queue: Queue) -> Job:
    job = queue.enqueue_call("worker.tasks.chat", job_id=uuid.uuid4().hex, timeout=-1)
    redis.hset(keys.job(job.id), mapping={"owner": "everyone", "state": "queued"})
    return job


def started(redis: Redis, queue: Queue, job: Job, worker: str = THERE, events: int = 0) -> None:
    """Have a worker start a job and write events; the worker gets no status key."""
    redis.lrem(queue.key, 1, job.id)
    redis.sadd(keys.WORKERS, worker)
    rq_worker = ChatWorker([queue], name=f"{worker}", connection=redis, serializer=JSONSerializer)
    execution = rq_worker.prepare_execution(job)
    rq_worker.prepare_job_execution(job)
    assert execution.worker_name == worker
    attempt, logged = TokenLog(redis).begin(job.id)
    deltas = [
        Append(job.id, "everyone", attempt, len(logged) + n + 1, Delta("x", (n,)))
        for n in range(events)
    ]
    TokenLog(redis).append(deltas)


def waiting(redis: Redis, queue: Queue) -> list[str]:
    return [raw.decode() for raw in redis.lrange(queue.key, 0, -1)]  # type: ignore[union-attr]


def crashes(redis: Redis, job: Job) -> int:
    return int(redis.hget(keys.job(job.id), "crashes") or 0)  # type: ignore[arg-type]
