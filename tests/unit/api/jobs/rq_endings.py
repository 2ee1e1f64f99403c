"""What RQ's tools can do to a queued chat."""

from __future__ import annotations

from typing import Any

from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from api.jobs.ids import new_job_id
from api.jobs.policy import Policy
from api.jobs.queue import JobQueue
from tests.support.api_support import MODEL, QUEUE
from wire import keys
from wire.keys import EVERYONE
from wire.log_entries import decode_rows
from wire.messages import ChatJob, Message, Sampling

CANARY = "xyzzy-canary"


def chat(jobs: JobQueue, owner: str = EVERYONE) -> str:
    made = ChatJob(
        job_id=new_job_id(),
        owner=owner,
        model_id=MODEL.id,
        model_revision=MODEL.revision,
        messages=(Message(role="user", content=CANARY),),
        sampling=Sampling(seed=1),
        submitted_ms=0,
    )
    return jobs._submit_chats([made], Policy("continue"))


def rq(redis: Redis, job_id: str) -> Job:
    return Job.fetch(job_id, connection=redis, serializer=JSONSerializer)


def log_of(redis: Redis, job_id: str) -> list[Any]:
    rows: Any = redis.xrange(keys.log(job_id))
    return [entry.event for entry in decode_rows(rows)]


def cancel(redis: Redis, job_id: str) -> None:
    rq(redis, job_id).cancel()


def delete(redis: Redis, job_id: str) -> None:
    rq(redis, job_id).delete()


def empty(redis: Redis, _: str) -> None:
    Queue(keys.CHAT_QUEUE, connection=redis, serializer=JSONSerializer).empty()


def fail(redis: Redis, job_id: str) -> None:
    redis.lrem(QUEUE, 1, job_id)
    job = rq(redis, job_id)
    job.set_status(JobStatus.FAILED)
    job.failed_job_registry.add(job, exc_string="a stock worker")


def finish(redis: Redis, job_id: str) -> None:
    redis.lrem(QUEUE, 1, job_id)
    rq(redis, job_id).set_status(JobStatus.FINISHED)


def defer(redis: Redis, job_id: str) -> None:
    redis.lrem(QUEUE, 1, job_id)
    rq(redis, job_id).set_status(JobStatus.DEFERRED)


ENDINGS = [(cancel, "cancelled"), (delete, "job_lost"), (empty, "job_lost"), (fail, "job_lost")]
ENDINGS += [(finish, "job_lost"), (defer, "job_lost")]
