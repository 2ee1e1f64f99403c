"""Chats that are put into the queue without a request."""

from __future__ import annotations

from typing import Any

from redis import Redis

from api.jobs.ids import new_job_id
from api.jobs.policy import Policy
from api.jobs.queue import JobQueue
from tests.support.api_support import MODEL
from wire import keys
from wire.keys import EVERYONE
from wire.log_entries import decode_rows
from wire.messages import ChatJob, Message, Sampling

CHAT = "/api/engine/chat"


def a_chat(text: str = "the canary sings") -> ChatJob:
    return ChatJob(
        job_id=new_job_id(),
        owner=EVERYONE,
        model_id=MODEL.id,
        model_revision=MODEL.revision,
        messages=(Message(role="user", content=text),),
        sampling=Sampling(seed=1),
        submitted_ms=0,
    )


def submit(jobs: JobQueue, policy: Policy | None = None) -> str:
    chat = a_chat()
    jobs._submit_chats([chat], policy or Policy("cancel"))
    return chat.job_id


def submit_several(jobs: JobQueue, number: int, policy: Policy | None = None) -> list[str]:
    """The jobs of a request with so many answers."""
    chats = [a_chat() for _ in range(number)]
    jobs._submit_chats(chats, policy or Policy("cancel"))
    return [chat.job_id for chat in chats]


def log_of(redis: Redis, job_id: str) -> list[Any]:
    rows: Any = redis.xrange(keys.log(job_id))
    return [entry.event for entry in decode_rows(rows)]
