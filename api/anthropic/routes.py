"""The routes of Anthropic's API: thin translations of what the native API does.

A client that goes away ends its job at once. Errors have Anthropic's shape: api.errors sees to
it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from api.anthropic.answer import MessageAnswer, named_warning
from api.anthropic.response_schemas import InputTokens, answers
from api.anthropic.schemas import CreateBody, MessagesBody
from api.anthropic.streaming import MOST_SILENT_S, EventsStream
from api.deps import JsonOnly
from api.error_shapes.anthropic import ANTHROPIC_RESPONSES, MESSAGES
from api.http.body_routes import CHAT, LongBodyRoute, takes
from api.jobs.idempotency import idempotency_key_of
from api.jobs.reader import Reader
from api.serving.fields import named
from api.serving.reading import HOLD_S, BoundStream, begin, header, whole
from api.serving.submission import (
    ContextOf,
    CounterOf,
    RequestContext,
    check_images,
    find_model,
    keep_running,
    model_name,
    prompt_tokens,
    stop_soon,
    submitted_jobs,
)
from wire.messages import Finished

router = APIRouter(
    prefix=MESSAGES,
    tags=["Anthropic"],
    dependencies=[JsonOnly],
    responses=ANTHROPIC_RESPONSES,
    route_class=LongBodyRoute,
)


@router.post("", response_class=JSONResponse, responses=answers())
@takes(CHAT)
async def messages(body: CreateBody, context: ContextOf) -> Response:
    """A message, streamed or whole."""
    chats = context.chats
    spec = body.spec()
    key = await idempotency_key_of(
        context.idempotency_key, context.caller.owner, body, context.urls
    )
    model = await find_model(body.model, chats)
    check_images(spec, model)
    spec = await context.schemas.settle(await chats.fitting(spec, model))
    [reader], sampling = await submitted_jobs([spec], model, key, context)
    context.note_job(reader.job_id)
    headers = {"X-Job-Id": reader.job_id}
    if ignored := body.ignored():
        headers["X-Ignored-Fields"] = named(ignored)
    answer = MessageAnswer(
        reader.job_id,
        await model_name(body.model, model, chats),
        one_call=body.one_call,
        hides_thinking=body.hides_thinking,
        warnings=spec.warnings,
        sampling=sampling,
    )
    # A client that sends a key may come back with it: its job goes on for a while without a reader.
    stop = functools.partial(stop_soon, chats.jobs, reader.job_id, context.caller)
    respond = _streamed if body.stream else _whole
    return await respond(reader, answer, context, stop if key is None else keep_running, headers)


@router.post("/count_tokens")
@takes(CHAT)
async def count_tokens(
    body: MessagesBody, context: ContextOf, counter: CounterOf, response: Response
) -> InputTokens:
    """How many tokens a message's prompt has, without sending it."""
    if ignored := body.ignored():
        response.headers["X-Ignored-Fields"] = named(ignored)
    counted = await prompt_tokens(body.spec(), body.model, context, counter)
    return InputTokens(input_tokens=counted)


async def _streamed(
    reader: Reader,
    answer: MessageAnswer,
    context: RequestContext,
    leave: Callable[[], None],
    headers: dict[str, str],
) -> Response:
    keepalive_s = context.readers.keepalive_s
    limit_s = min(HOLD_S, MOST_SILENT_S, keepalive_s)
    first = await begin(reader, answer, context.request, limit_s, leave)
    if first is None:
        return Response()  # the client has gone
    records = context.readers.records
    stream = EventsStream(reader, records, keepalive_s, answer, reader.job_id, first.entries)
    warnings = header([*answer.warnings, *map(named_warning, first.warnings)])
    return BoundStream(reader, stream, leave, headers | warnings)


async def _whole(
    reader: Reader,
    answer: MessageAnswer,
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
