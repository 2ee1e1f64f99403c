"""The routes of Anthropic's API: thin translations of what the native API does.

A client that goes away ends its job at once. Errors have Anthropic's shape: api.errors sees to
it.
"""

from __future__ import annotations

import functools

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from api.anthropic.answer import MessageAnswer, named_warning
from api.anthropic.response_schemas import InputTokens, answers
from api.anthropic.schemas import CreateBody, MessagesBody
from api.anthropic.streaming import MOST_SILENT_S, EventsStream
from api.deps import JsonOnly
from api.error_shapes.anthropic import ANTHROPIC_RESPONSES, MESSAGES
from api.http.body_routes import CHAT, LongBodyRoute, takes
from api.serving.fields import named
from api.serving.respond import streamed, unstreamed
from api.serving.submission import ContextOf, CounterOf, prompt_tokens, submit

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
    submitted = await submit(body, body.model, [body.spec()], body.ignored(), context)
    answer = MessageAnswer(
        submitted.job_id,
        submitted.model_name,
        one_call=body.one_call,
        hides_thinking=body.hides_thinking,
        warnings=submitted.warnings,
        sampling=submitted.sampling,
        tier=submitted.tier,
    )
    if not body.stream:
        return await unstreamed(submitted, context, answer, answer.whole)
    [reader], readers = submitted.readers, context.readers
    silence_s = min(MOST_SILENT_S, readers.keepalive_s)
    stream = functools.partial(EventsStream, reader, readers.records, silence_s, answer)
    return await streamed(submitted, context, answer, stream, silence_s, named_warning)


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
