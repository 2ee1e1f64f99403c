"""The routes of OpenAI's API: thin translations of what the native API does.

A client that goes away ends its job at once. Errors have OpenAI's shape; api.errors sees to that.
"""

from __future__ import annotations

import functools
import time

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from api.deps import JsonOnly
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES
from api.http.body_routes import CHAT, COMPLETION, LongBodyRoute, takes
from api.openai.choices import responses as choices
from api.openai.choices.answer import ChoicesAnswer
from api.openai.choices.readers import ChoiceReaders
from api.openai.response_schemas import ChatCompletion, ChatCompletionChunk, Completion, answers
from api.openai.responses import Answer, ChatAnswer, CompletionAnswer
from api.openai.schemas import ChatBody, CompletionBody
from api.openai.streaming import ChunkStream
from api.serving.respond import streamed, unstreamed
from api.serving.submission import ContextOf, RequestContext, submit

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
    submitted = await submit(body, body.model, body.specs(), body.ignored(), context)
    several = len(submitted.readers) > 1
    made = functools.partial(
        kind,
        submitted.job_id,
        int(time.time()),
        submitted.model_name,
        submitted.model.revision,
        with_usage=body.wants_usage and not several,
        one_call=body.one_call,
        warnings=submitted.warnings,
        sampling=submitted.sampling,
        tier=submitted.tier,
    )
    if several:
        group = ChoiceReaders(submitted.readers, submitted.stop, submitted.leave)
        each = [made() for _ in submitted.readers]
        together = ChoicesAnswer(each, body.choices, with_usage=body.wants_usage)
        respond = choices.streamed if body.stream else choices.unstreamed
        return await respond(group, together, context.readers, context.request, submitted.headers)
    answer = made()
    if not body.stream:
        return await unstreamed(submitted, context, answer, answer.whole)
    [reader], readers = submitted.readers, context.readers
    stream = functools.partial(ChunkStream, reader, readers.records, readers.keepalive_s, answer)
    return await streamed(submitted, context, answer, stream, readers.keepalive_s)
