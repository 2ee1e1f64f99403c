"""From what a client asks for to a job in the queue: the one way in, whatever API the request came
by.

Everything that can be refused is refused here, before a job exists and before a stream's headers
are sent. Knows no request's shape and no response's.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from api.auth.caller import Caller
from api.chat.request import ChatSpec
from api.errors import ApiError, no_worker
from api.http.data_urls import DataUrls
from api.images.intake import MANY_MESSAGES
from api.jobs.idempotency import IdempotencyKey
from api.jobs.ids import new_job_id
from api.jobs.relay import Reader
from wire.messages import ChatJob
from wire.model_registry import ModelRecord

if TYPE_CHECKING:  # Parts holds what reads batches, which asks in these terms.
    from api.services import Parts

MUCH_TEXT = 256 << 10
"""Characters beyond which a chat takes milliseconds to write down."""


async def find_model(wanted: str | None, parts: Parts) -> ModelRecord:
    """The model that an id, a name or a repository name stands for; the default one if none is
    named.

    Raises ApiError if it can't be served.
    """
    model, worker_seen = await parts.catalogue.find_to_serve(wanted)
    if not worker_seen:
        raise no_worker()
    if model is None:
        raise ApiError(
            "model_not_found", "No model of this id or name is registered.", param="model"
        )
    if not model.downloaded:
        raise ApiError("model_not_found", "This model has not been downloaded yet.", param="model")
    return model


async def accept(
    ask: ChatSpec,
    model: ModelRecord,
    parts: Parts,
    taken: DataUrls,
    caller: Caller,
    once: IdempotencyKey | None,
) -> Reader | str:
    """Queue a chat. Answers a reader of it, or the id of the job that an earlier request of the
    same key made.

    Raises ApiError for whatever can be refused.
    """
    job = await _job(ask, model, parts, taken, caller)
    # Listening before the job exists: nothing of it can be missed, and there is nothing to replay.
    reader = parts.relay.attach(job.job_id, replay=False)
    try:
        async with parts.long_json.turn if _is_long(job) else contextlib.nullcontext():
            made = await parts.jobs.submit_chat(job, ask.policy, once)
    except BaseException as error:
        reader.detach()
        # After any other failure the job may be there, and need them.
        if isinstance(error, ApiError):
            parts.images.forget(job.job_id, job.messages)
        raise
    if made == job.job_id:
        return reader
    reader.detach()
    parts.images.forget(job.job_id, job.messages)
    return made


def _is_long(job: ChatJob) -> bool:
    """Whether writing it down takes milliseconds."""
    return (
        len(job.messages) > MANY_MESSAGES
        or sum(len(message.text()) for message in job.messages) > MUCH_TEXT
    )


async def _job(
    ask: ChatSpec, model: ModelRecord, parts: Parts, taken: DataUrls, caller: Caller
) -> ChatJob:
    job_id = new_job_id()
    messages = await parts.images.store(ask.messages, taken, job_id)
    try:
        await parts.prompt_size.check(model, messages, ask.form)
    except BaseException:
        parts.images.forget(job_id, messages)
        raise
    return ChatJob(
        job_id=job_id,
        owner=caller.owner,
        model_id=model.id,
        model_revision=model.revision,
        messages=messages,
        sampling=ask.sampling,
        form=ask.form,
        submitted_ms=0,  # Redis' time, set as the job is queued
    )
