"""The routes of OpenAI's API: thin translations of what the native API does.

A client that goes away ends its job at once. Errors have OpenAI's shape; api.errors sees to that.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError

from api.auth.caller import Caller, CallerOf
from api.chat.json_schema import Schemas
from api.chat.readers import ChatReaders
from api.chat.request import ChatSpec
from api.chat.submit import Chats
from api.deps import JsonOnly, service
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES, ApiError
from api.http.body_routes import CHAT, DataUrlsOf, LongBodyRoute, takes
from api.http.security_headers import REQUEST_ID
from api.jobs.idempotency import idempotency_key_of
from api.jobs.queue import JobQueue
from api.jobs.reader import Reader
from api.openai import other_fields
from api.openai.response_schemas import ChatCompletion, ChatCompletionChunk, Completion, answers
from api.openai.responses import Answer, ChatAnswer, CompletionAnswer
from api.openai.schemas import ChatBody, CompletionBody
from api.openai.streaming import HOLD_S, BoundStream, ChunkStream, begin, header, whole
from api.registry import names_no_model, public_name
from wire.messages import Finished
from wire.model_registry import ModelRecord

router = APIRouter(
    prefix=OPENAI_PREFIX,
    tags=["OpenAI"],
    dependencies=[JsonOnly],
    responses=OPENAI_RESPONSES,
    route_class=LongBodyRoute,
)

_log = logging.getLogger(__name__)
_leaving: set[asyncio.Task[None]] = set()
"""Stops under way: a task that nothing refers to may be collected."""
Key = Annotated[str | None, Header(alias="Idempotency-Key")]


class RequestContext:
    """What a route of this API needs besides the body."""

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


@router.post(
    "/chat/completions",
    response_class=JSONResponse,
    responses=answers(ChatCompletion, ChatCompletionChunk),
)
@takes(CHAT)
async def chat_completions(body: ChatBody, context: ContextOf) -> Response:
    """A chat, streamed or whole."""
    return await _answer(body, ChatAnswer, context)


@router.post("/completions", response_class=JSONResponse, responses=answers(Completion, Completion))
@takes(CHAT)
async def completions(body: CompletionBody, context: ContextOf) -> Response:
    """A text that is continued as it is, streamed or whole."""
    return await _answer(body, CompletionAnswer, context)


async def _answer(
    body: ChatBody | CompletionBody, kind: type[Answer], context: RequestContext
) -> Response:
    chats, spec = context.chats, body.spec()
    key = await idempotency_key_of(
        context.idempotency_key, context.caller.owner, body, context.urls
    )
    model = await chats.find_model(body.model)
    spec = await context.schemas.settle(_fitting(spec, model))
    submitted: Reader | str | None = None
    if key is not None:
        submitted = await chats.jobs.existing_job(key)
    if submitted is None:
        submitted = await chats.submit(spec, model, context.urls, context.caller, key)
    if isinstance(submitted, str):
        submitted = await _resume(submitted, context.readers)
    reader = submitted
    context.note_job(reader.job_id)
    headers = {"X-Job-Id": reader.job_id}
    if ignored := body.ignored():
        headers["X-Ignored-Fields"] = other_fields.named(ignored)
    answer = kind(
        reader.job_id,
        int(time.time()),
        public_name(model, await chats.registry.models())
        if names_no_model(body.model)
        else str(body.model),
        model.revision,
        with_usage=body.wants_usage,
        one_call=body.one_call,
        warnings=spec.warnings,
    )
    # A client that sends a key may come back with it: its job goes on for a while without a reader.
    stop = functools.partial(_leave, chats.jobs, reader.job_id, context.caller)
    leave = stop if key is None else _stay
    if body.stream:
        return await _streamed(reader, answer, context, leave, headers)
    return await _whole(reader, answer, context, leave, headers)


async def _streamed(
    reader: Reader,
    answer: Answer,
    context: RequestContext,
    leave: Callable[[], None],
    headers: dict[str, str],
) -> Response:
    keepalive_s = context.readers.keepalive_s
    first = await begin(reader, answer, context.request, min(HOLD_S, keepalive_s), leave)
    if first is None:
        return Response()  # the client has gone
    stream = ChunkStream(reader, context.readers.records, keepalive_s, answer, first.entries)
    warnings = header([*answer.warnings, *first.warnings])
    return BoundStream(reader, stream, leave, headers | warnings)


async def _whole(
    reader: Reader,
    answer: Answer,
    context: RequestContext,
    leave: Callable[[], None],
    headers: dict[str, str],
) -> Response:
    events = await whole(reader, answer, context.readers.records, context.request, leave)
    if events is None:
        return Response()  # the client has gone
    end = events[-1]
    assert isinstance(end, Finished), "whole() answers with a good end or not at all"
    body = answer.whole(events, end)
    if body.get("cancelled"):
        headers["X-Cancelled"] = "true"
    return JSONResponse(body, headers=headers | header(body.get("warnings", ())))


def _fitting(spec: ChatSpec, model: ModelRecord) -> ChatSpec:
    """What is asked for as the model can answer it.

    Raises ApiError for pictures that it couldn't see.
    """
    if not model.is_vision:
        for index, draft in enumerate(spec.messages):
            for number, part in enumerate(draft.parts):
                if not isinstance(part, str):
                    param = f"messages[{index}].content[{number}]"
                    raise ApiError(
                        "unsupported", "This model does not support images.", param=param
                    )
    return spec.fitting(model)


async def _resume(job_id: str, readers: ChatReaders) -> Reader:
    """A reader, from the start, of a job that an earlier request created."""
    # In this order: its end may arrive in between.
    records = readers.records
    if await records.state(job_id) == "ended" and not await records.has_log(job_id):
        raise ApiError("expired", "The text of this job has expired.")
    return await readers.attach(job_id)


def _leave(jobs: JobQueue, job_id: str, caller: Caller) -> None:
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


def _stay() -> None:
    """Leave the job to go on."""
