"""The routes of OpenAI's API: thin translations of what the native API does.

A client that goes away ends its job at once. Errors have OpenAI's shape; api.errors sees to that.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError

from api.auth.caller import Caller, CallerOf
from api.chat.request import ChatSpec
from api.chat.submit import accept, find_model
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES, ApiError
from api.http.body_routes import CHAT, LongBodyRoute, takes
from api.http.security_headers import REQUEST_ID
from api.jobs.idempotency import once
from api.jobs.queue import JobQueue
from api.jobs.relay import Reader
from api.openai import other_fields
from api.openai.response_schemas import ChatCompletion, ChatCompletionChunk, Completion, answers
from api.openai.responses import Answer, ChatAnswer, CompletionAnswer
from api.openai.schemas import ChatBody, CompletionBody
from api.openai.streaming import HOLD_S, BoundStream, ChunkStream, begin, header, whole
from api.registry import names_none, public_name
from api.services import JsonOnly, Parts, PartsOf, TakenOf
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


class Asking:
    """What a route of this API needs beside the body."""

    def __init__(
        self,
        request: Request,
        parts: PartsOf,
        taken: TakenOf,
        caller: CallerOf,
        idempotency_key: Key = None,
    ) -> None:
        self.request, self.parts, self.taken, self.caller = request, parts, taken, caller
        self.key = idempotency_key

    def note_job(self, job_id: str) -> None:
        """Have the answer carry the job's id, an error's answer too."""
        self.request.scope[REQUEST_ID] = job_id


AskingOf = Annotated[Asking, Depends(Asking)]


@router.post(
    "/chat/completions",
    response_class=JSONResponse,
    responses=answers(ChatCompletion, ChatCompletionChunk),
)
@takes(CHAT)
async def chat_completions(body: ChatBody, asking: AskingOf) -> Response:
    """A chat, streamed or whole."""
    return await _answer(body, ChatAnswer, asking)


@router.post("/completions", response_class=JSONResponse, responses=answers(Completion, Completion))
@takes(CHAT)
async def completions(body: CompletionBody, asking: AskingOf) -> Response:
    """A text that is continued as it is, streamed or whole."""
    return await _answer(body, CompletionAnswer, asking)


async def _answer(body: ChatBody | CompletionBody, kind: type[Answer], asking: Asking) -> Response:
    parts, ask = asking.parts, body.ask()
    key = await once(asking.key, asking.caller.owner, body, asking.taken)
    model = await find_model(body.model, parts)
    ask = await parts.schemas.settle(_fitting(ask, model))
    earlier = None if key is None else await parts.jobs.made_before(key)
    made = earlier or await accept(ask, model, parts, asking.taken, asking.caller, key)
    reader = made if isinstance(made, Reader) else await _again(made, parts)
    asking.note_job(reader.job_id)
    headers = {"X-Job-Id": reader.job_id}
    if ignored := body.ignored():
        headers["X-Ignored-Fields"] = other_fields.named(ignored)
    answer = kind(
        reader.job_id,
        int(time.time()),
        public_name(model, await parts.catalogue.models())
        if names_none(body.model)
        else str(body.model),
        model.revision,
        with_usage=body.wants_usage,
        one_call=body.one_call,
        warnings=ask.warnings,
    )
    # Who sends a key may come back with it: its job gets the time that any job without a reader
    # has.
    leave = (
        functools.partial(_leave, parts.jobs, reader.job_id, asking.caller)
        if key is None
        else _stay
    )
    if body.stream:
        keepalive_s = parts.settings.keepalive_s
        first = await begin(reader, answer, asking.request, min(HOLD_S, keepalive_s), leave)
        if first is None:
            return Response()  # nobody is there to read it
        stream = ChunkStream(reader, parts.lookup, keepalive_s, answer, first.entries)
        return BoundStream(
            reader, stream, leave, headers | header([*ask.warnings, *first.warnings])
        )
    events = await whole(reader, answer, parts.lookup, asking.request, leave)
    if events is None:
        return Response()  # nobody is there to read it
    end = events[-1]
    assert isinstance(end, Finished), "whole() answers with a good end or not at all"
    told = answer.whole(events, end)
    if told.get("cancelled"):
        headers["X-Cancelled"] = "true"
    return JSONResponse(told, headers=headers | header(told.get("warnings", ())))


def _fitting(ask: ChatSpec, model: ModelRecord) -> ChatSpec:
    """What is asked for as the model can answer it. Raises ApiError for pictures that it
    couldn't see."""
    if not model.is_vision:
        for place, draft in enumerate(ask.messages):
            for number, part in enumerate(draft.parts):
                if not isinstance(part, str):
                    param = f"messages[{place}].content[{number}]"
                    raise ApiError(
                        "unsupported", "This model does not support images.", param=param
                    )
    return ask.fitting(model)


async def _again(job_id: str, parts: Parts) -> Reader:
    """A reader of a job that an earlier request made, from its start."""
    # In this order: its end may arrive in between.
    if await parts.lookup.standing(job_id) == "ended" and not await parts.lookup.has_log(job_id):
        raise ApiError("expired", "The text of this job has expired.")
    await parts.attendance.note([job_id])
    return parts.relay.attach(job_id, replay=True)


def _leave(jobs: JobQueue, job_id: str, caller: Caller) -> None:
    """Stop the job of a client that has gone, in a task of its own: the request's is being
    cancelled."""
    task = asyncio.get_running_loop().create_task(_stop(jobs, job_id, caller))
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)


async def _stop(jobs: JobQueue, job_id: str, caller: Caller) -> None:
    try:
        await jobs.stop(job_id, caller.owner)
    except (RedisError, RuntimeError) as error:
        # the latter at shutdown; without a reader it ends in a while anyway
        _log.info("a job whose client has gone could not be stopped (%s)", type(error).__name__)


def _stay() -> None:
    """Leave the job to go on."""
