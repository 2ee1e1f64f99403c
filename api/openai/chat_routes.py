"""The routes of OpenAI's API: thin translations of what the native API does.

A client that goes away ends its job at once. Errors have OpenAI's shape; api.errors sees to that.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from api.deps import JsonOnly
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES
from api.http.body_routes import CHAT, COMPLETION, LongBodyRoute, takes
from api.jobs.idempotency import idempotency_key_of
from api.jobs.reader import Reader
from api.openai.choices import responses as choices
from api.openai.choices.answer import ChoicesAnswer
from api.openai.choices.readers import ChoiceReaders
from api.openai.response_schemas import ChatCompletion, ChatCompletionChunk, Completion, answers
from api.openai.responses import Answer, ChatAnswer, CompletionAnswer
from api.openai.schemas import ChatBody, CompletionBody
from api.openai.streaming import ChunkStream
from api.serving.fields import named
from api.serving.reading import HOLD_S, BoundStream, begin, header, whole
from api.serving.submission import (
    ContextOf,
    RequestContext,
    check_images,
    find_model,
    keep_running,
    model_name,
    stop_soon,
    submitted_jobs,
)
from wire.messages import Finished

router = APIRouter(
    prefix=OPENAI_PREFIX,
    tags=["OpenAI"],
    dependencies=[JsonOnly],
    responses=OPENAI_RESPONSES,
    route_class=LongBodyRoute,
)


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
@takes(COMPLETION)
async def completions(body: CompletionBody, context: ContextOf) -> Response:
    """Texts or token ids that are continued as they are, streamed or whole."""
    return await _answer(body, CompletionAnswer, context)


async def _answer(
    body: ChatBody | CompletionBody, kind: type[Answer], context: RequestContext
) -> Response:
    chats, specs = context.chats, body.specs()
    key = await idempotency_key_of(
        context.idempotency_key, context.caller.owner, body, context.urls
    )
    model = await find_model(body.model, chats)
    for spec in specs:
        check_images(spec, model)
    specs = [await context.schemas.settle(await chats.fitting(spec, model)) for spec in specs]
    readers, sampling = await submitted_jobs(specs, model, key, context)
    first_id = readers[0].job_id
    context.note_job(first_id)
    headers = {"X-Job-Id": first_id}
    if ignored := body.ignored():
        headers["X-Ignored-Fields"] = named(ignored)
    several = len(readers) > 1
    made = functools.partial(
        kind,
        first_id,
        int(time.time()),
        await model_name(body.model, model, chats),
        model.revision,
        with_usage=body.wants_usage and not several,
        one_call=body.one_call,
        warnings=specs[0].warnings,
        sampling=sampling,
    )
    # A client that sends a key may come back with it: its job goes on for a while without a reader.
    stop = functools.partial(stop_soon, chats.jobs, first_id, context.caller)
    leave = stop if key is None else keep_running
    if several:
        group = ChoiceReaders(readers, stop, leave)
        each = [made() for _ in readers]
        together = ChoicesAnswer(each, body.choices, with_usage=body.wants_usage)
        respond = choices.streamed if body.stream else choices.unstreamed
        return await respond(group, together, context.readers, context.request, headers)
    respond_once = _streamed if body.stream else _whole
    return await respond_once(readers[0], made(), context, leave, headers)


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
