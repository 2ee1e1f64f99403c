"""From a request to its jobs, for every API that ends a job when its client goes away.

Knows no API's shapes.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import BaseModel
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
from api.jobs.idempotency import IdempotencyKey, idempotency_key_of
from api.jobs.queue import JobQueue
from api.jobs.reader import Reader
from api.jobs.waiting.priorities import TierHeadersOf
from api.registry import public_name
from api.serving.fields import named
from api.serving.token_counter import TokenCounter
from wire.model_registry import ModelRecord
from wire.queueing.turns import Tier
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
        tier_headers: TierHeadersOf,
        idempotency_key: Key = None,
    ) -> None:
        self.request, self.urls, self.caller = request, urls, caller
        self.chats, self.readers, self.schemas = chats, readers, schemas
        self.idempotency_key, self.tier_headers = idempotency_key, tier_headers

    def note_job(self, job_id: str) -> None:
        """Have the answer carry the job's id, an error's answer too."""
        self.request.scope[REQUEST_ID] = job_id


ContextOf = Annotated[RequestContext, Depends(RequestContext)]
CounterOf = Annotated[TokenCounter, service(TokenCounter)]


@dataclass(frozen=True, slots=True)
class Submitted:
    """A request whose jobs exist, one for each answer.

    ``model_name`` is the model's in answers, ``warnings`` are known before any event, ``tier`` is
    its class of service. ``stop`` ends the jobs; ``leave`` does what is due when the client has
    gone.
    """

    readers: list[Reader]
    model: ModelRecord
    model_name: str
    warnings: tuple[str, ...]
    sampling: SamplingUsed | None
    tier: Tier
    headers: dict[str, str]
    stop: Callable[[], None]
    leave: Callable[[], None]

    @property
    def job_id(self) -> str:
        """The first answer's job."""
        return self.readers[0].job_id


async def submit(
    body: BaseModel,
    model_asked: str | None,
    specs: Sequence[ChatSpec],
    ignored: Sequence[str],
    context: RequestContext,
) -> Submitted:
    """Create the jobs of a request, or find those that the first request with its key created.

    ``ignored`` are the fields that the answer's headers name. Raises ApiError for a request that
    can't be served.
    """
    chats = context.chats
    key = await idempotency_key_of(
        context.idempotency_key, context.caller.owner, body, context.urls
    )
    model, specs = await _fitting(specs, model_asked, context)
    name = await _model_name(model_asked, model, chats)
    readers, sampling, tier = await _jobs(specs, model, key, context)
    job_id = readers[0].job_id
    context.note_job(job_id)
    headers = {"X-Job-Id": job_id}
    if ignored:
        headers["X-Ignored-Fields"] = named(ignored)
    stop = functools.partial(stop_soon, chats.jobs, job_id, context.caller)
    # A client that sends a key may come back with it: its job goes on for a while without a reader.
    leave = stop if key is None else keep_running
    warnings = specs[0].warnings
    return Submitted(readers, model, name, warnings, sampling, tier, headers, stop, leave)


async def prompt_tokens(
    spec: ChatSpec, requested: str | None, context: RequestContext, counter: TokenCounter
) -> int:
    """How many tokens the prompt of a chat has that is not sent: its usage would say the same.

    Raises ApiError for what would be refused.
    """
    model, [fitting] = await _fitting([spec], requested, context)
    return await counter.count(fitting, model, context.urls, context.caller)


async def _fitting(
    specs: Sequence[ChatSpec], requested: str | None, context: RequestContext
) -> tuple[ModelRecord, list[ChatSpec]]:
    """The model that is meant, and what is asked of it as its jobs carry it."""
    chats = context.chats
    named = await chats.registry.meant(requested)
    model = await chats.find_model(named, context.caller.owner, specs[0].task)
    for spec in specs:
        _check_images(spec, model)
    return model, [await context.schemas.settle(await chats.fitting(spec, model)) for spec in specs]


async def _model_name(requested: str | None, model: ModelRecord, chats: Chats) -> str:
    """The model's name in answers: the one that it was asked for by, if it is its own."""
    if requested and requested in model.names:
        return str(requested)
    return public_name(model, await chats.registry.models())


async def _jobs(
    specs: Sequence[ChatSpec],
    model: ModelRecord,
    key: IdempotencyKey | None,
    context: RequestContext,
) -> tuple[list[Reader], SamplingUsed | None, Tier]:
    """A reader for each answer, what the first runs with, and its class of service; of a repeated
    request those of the first one with this key. Calls of tools come in pieces."""
    chats, readers = context.chats, context.readers
    submitted: list[Reader] | str | None = None
    if key is not None:
        submitted = await chats.jobs.existing_job(key)
    if submitted is None:
        specs = await _in_a_tier([spec.in_call_pieces() for spec in specs], context)
        submitted = await chats.submit_all(specs, model, context.urls, context.caller, key)
    if isinstance(submitted, str):
        sampling, tier = await readers.records.run_with(submitted)
        return await _resume(submitted, sum(s.choices for s in specs), readers), sampling, tier
    return submitted, used(specs[0].sampling), specs[0].policy.tier


async def _in_a_tier(specs: Sequence[ChatSpec], context: RequestContext) -> list[ChatSpec]:
    """What is asked for, in the class of service that it gets."""
    asked = specs[0].policy.asked or context.tier_headers.asked
    tier = await context.chats.jobs.tier_for(asked, context.caller.owner)
    return [replace(spec, policy=replace(spec.policy, tier=tier)) for spec in specs]


def _check_images(spec: ChatSpec, model: ModelRecord) -> None:
    """Raises ApiError for pictures that the model couldn't see."""
    if not model.is_vision and (param := first_image(spec.messages)) is not None:
        raise ApiError("unsupported", "This model does not support images.", param=param)


async def _resume(first_id: str, answers: int, readers: ChatReaders) -> list[Reader]:
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
