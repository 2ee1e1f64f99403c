"""Chats for the worker's unit tests."""

from __future__ import annotations

from typing import Any

from wire.messages import ChatJob, Message, Sampling
from worker.sequence import Sequence

MODEL, REVISION = "echo", "echo"


def chat_job(
    text: str = "hello", *, job_id: str = "job", seed: int = 1, **sampling: Any
) -> ChatJob:
    return ChatJob(
        job_id=job_id,
        owner="everyone",
        model_id=MODEL,
        model_revision=REVISION,
        messages=(Message(role="user", content=text),),
        sampling=Sampling(**{"seed": seed, "max_tokens": 8, **sampling}),
        submitted_ms=0,
    )


def sequence(text: str = "hello", **fields: Any) -> Sequence:
    return Sequence(chat_job(text, **fields))
