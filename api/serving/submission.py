"""From a request to its jobs, for every API that ends a job when its client goes away.

Knows no API's shapes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Header, Request
from redis.exceptions import RedisError

from api.auth.caller import Caller, CallerOf
from api.chat.json_schema import Schemas
from api.chat.readers import ChatReaders
from api.chat.request import ChatSpec
from api.chat.submit import Chats
from api.deps import service
from api.errors import REQUEST_ID, ApiError
from api.http.body_routes import DataUrlsOf
from api.images.draft import first_image
from api.jobs.idempotency import IdempotencyKey
from api.jobs.queue import JobQueue
from api.jobs.reader import Reader
from api.registry import public_name
from api.serving.token_counter import TokenCounter
from wire.model_registry import ModelRecord
from wire.sampling_used import SamplingUsed, used

_log = logging.getLogger(__name__)
_leaving: set[asyncio.Task[None]] = set()
"""Stops under way: a task that nothing refers to may be collected."""
Key = Annotated[str | None, Header(alias="Idempotency-Key")]


class RequestContext:
    """What a route needs besides the body."""

    def __init__(
        self,
        request: Request,
        chats: Annotated[Chats, service(Chats)],
        readers: Annotated[ChatReaders, service(ChatReaders)],
        schemas: Annotated[Schemas, service(Schemas)],
        urls: DataUrlsOf,
        caller: CallerOf,
        idempotency_key: Key = None,
    ) -> None:
        self.request, self.urls, self.caller = request, urls, caller
        self.chats, self.readers, self.schemas = chats, readers, schemas
        self.idempotency_key = idempotency_key

    def note_job(self, job_id: str) -> None:
        """Have the answer carry the job's id, an error's answer too."""
        self.request.scope[REQUEST_ID] = job_id


ContextOf = Annotated[RequestContext, Depends(RequestContext)]
CounterOf = Annotated[TokenCounter, service(TokenCounter)]


async def find_model(requested: str | None, chats: Chats) -> ModelRecord:
    """The model that a request below ``/v1`` means. Raises ApiError if it can't be served."""
    return await chats.find_model(await chats.registry.meant(requested))


async def prompt_tokens(
    spec: ChatSpec, requested: str | None, context: RequestContext, counter: TokenCounter
) -> int:
    """How many tokens the prompt of a chat has that is not sent: its usage would say the same.

    Raises ApiError for what would be refused.
    """
    model = await find_model(requested, context.chats)
    check_images(spec, model)
    spec = await context.schemas.settle(await context.chats.fitting(spec, model))
    return await counter.count(spec, model, context.urls, context.caller)


async def model_name(requested: str | None, model: ModelRecord, chats: Chats) -> str:
    """The model's name in answers: the one that it was asked for by, if it is its own."""
    if requested and requested in model.names:
        return str(requested)
    return public_name(model, await chats.registry.models())


async def submitted_jobs(
    specs: Sequence[ChatSpec],
    model: ModelRecord,
    key: IdempotencyKey | None,
    context: RequestContext,
) -> tuple[list[Reader], SamplingUsed | None]:
    """A reader for each answer, and what the first runs with; of a repeated request those of the
    first one with this key. Calls of tools come in pieces."""
    chats, readers = context.chats, context.readers
    submitted: list[Reader] | str | None = None
    if key is not None:
        submitted = await chats.jobs.existing_job(key)
    if submitted is None:
        specs = [spec.in_call_pieces() for spec in specs]
        submitted = await chats.submit_all(specs, model, context.urls, context.caller, key)
    if isinstance(submitted, str):
        sampling = await readers.records.sampling(submitted)
        return await resume(submitted, sum(s.choices for s in specs), readers), sampling
    return submitted, used(specs[0].sampling)


def check_images(spec: ChatSpec, model: ModelRecord) -> None:
    """Raises ApiError for pictures that the model couldn't see."""
    if not model.is_vision and (param := first_image(spec.messages)) is not None:
        raise ApiError("unsupported", "This model does not support images.", param=param)


async def resume(first_id: str, answers: int, readers: ChatReaders) -> list[Reader]:
    """Readers, from the start, of the jobs that an earlier request created."""
    records = readers.records
    job_ids = [first_id] if answers == 1 else await records.choices(first_id)
    if len(job_ids) != answers:  # Redis has lost the record.
        raise ApiError("expired", "The text of this job has expired.")
    for job_id in job_ids:
        # In this order: its end may arrive in between.
        if await records.state(job_id) == "ended" and not await records.has_log(job_id):
            raise ApiError("expired", "The text of this job has expired.")
    return [await readers.attach(job_id) for job_id in job_ids]


def stop_soon(jobs: JobQueue, job_id: str, caller: Caller) -> None:
    """Stop a disconnected client's job, in a new task: the request's own is being cancelled."""
    task = asyncio.get_running_loop().create_task(_stop(jobs, job_id, caller))
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)


async def _stop(jobs: JobQueue, job_id: str, caller: Caller) -> None:
    try:
        await jobs.stop(job_id, caller.owner)
    except RedisError as error:
        # Without a reader it ends in a while anyway.
        _log.info("a job whose client has gone could not be stopped (%s)", type(error).__name__)


def keep_running() -> None:
    """Leave the job to go on."""
