"""``POST /v1/responses``: a thin translation of what the native API does.

A client that goes away ends its job at once. Errors have OpenAI's shape; api.errors sees to that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from api.chat.request import ChatSpec
from api.deps import JsonOnly
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES, ApiError
from api.http.body_routes import CHAT, LongBodyRoute, takes
from api.http.data_urls import DataUrls
from api.jobs.ids import new_job_id
from api.responses.answer import failures
from api.responses.answer.events import Events
from api.responses.answer.expansion import Expansion, View
from api.responses.answer.output_items import Json
from api.responses.answer.response_object import ID, ResponseObject, asked_for, view_of
from api.responses.fields import FIELDS
from api.responses.response_schemas import InputTokens, answers
from api.responses.schemas import ResponsesBody
from api.responses.stored.chain import earlier_items, read
from api.responses.stored.reading import StoredOf, StoredResponses
from api.responses.stored.record import ResponseRecord, named
from api.responses.stored.references import with_items
from api.responses.streaming import SILENCE_S, ResponseStream, sent
from api.serving import fields as other_fields
from api.serving.respond import streamed, unstreamed
from api.serving.submission import (
    ContextOf,
    CounterOf,
    RequestContext,
    Submitted,
    keep_running,
    prompt_tokens,
    submit,
)
from wire.log_entries import Entry
from wire.webhooks.outbox import of_response

router = APIRouter(
    prefix=OPENAI_PREFIX,
    tags=["OpenAI"],
    dependencies=[JsonOnly],
    responses=OPENAI_RESPONSES,
    route_class=LongBodyRoute,
)


@router.post("/responses", response_class=JSONResponse, responses=answers())
@takes(CHAT)
async def create_response(body: ResponsesBody, context: ContextOf, stored: StoredOf) -> Response:
    """An answer to a list of items, streamed or whole."""
    try:
        return await _answer(body, context, stored)
    except ApiError as error:
        if not body.stream or not failures.is_told_in_stream(error, context.request.headers):
            raise
        return _refused_in_stream(body, error)


@router.post("/responses/input_tokens")
@takes(CHAT)
async def count_input_tokens(
    body: ResponsesBody,
    context: ContextOf,
    stored: StoredOf,
    counter: CounterOf,
    response: Response,
) -> InputTokens:
    """How many tokens a response's prompt has, without asking for it."""
    body = await with_items(body, stored)
    asked = body.asked(read(await earlier_items(body.previous_response_id, stored)))
    if asked.ignored:
        response.headers["X-Ignored-Fields"] = other_fields.named(asked.ignored)
    counted = await prompt_tokens(asked.spec, body.model, context, counter)
    return InputTokens(input_tokens=counted)


async def _answer(
    body: ResponsesBody, context: RequestContext, stored: StoredResponses
) -> Response:
    body = await with_items(body, stored)
    earlier = await earlier_items(body.previous_response_id, stored)
    asked = body.asked(read(earlier))
    stores, not_honoured = _stores(body, stored.store.enabled)
    ignored = (*asked.ignored, *not_honoured)
    spec = _told(asked.spec, body)
    spec = replace(spec, policy=replace(spec.policy, keeps_request=stores))
    submitted = await submit(body, body.model, [spec], ignored, context)
    record = ResponseRecord(
        context.caller.owner,
        submitted.model_name,
        asked_for(body) | {"service_tier": submitted.tier},
        view_of(body, asked.tools),
        submitted.warnings,
        background=bool(body.background),
        stored=stores,
    )
    if stores:
        new = named(_sent(body, context.urls), submitted.job_id, len(earlier))
        record = replace(record, items=(*earlier, *new))
    events = await _kept(record, submitted, stored, spec.policy.not_before_ms)
    if body.background:
        submitted = replace(submitted, leave=keep_running)
    if body.background and not body.stream:
        submitted.readers[0].detach()
        found = await stored.find(ID + submitted.job_id)
        return JSONResponse(await stored.now(found), headers=submitted.headers)
    if not body.stream:
        return await unstreamed(submitted, context, FIELDS, lambda all_, _: events.whole(all_))
    return await _streamed(events, submitted, context, resumable=bool(body.background))


def _told(spec: ChatSpec, body: ResponsesBody) -> ChatSpec:
    """What is asked for, with its end told by webhooks if it runs in the background."""
    if not body.background:
        return spec
    policy = replace(spec.policy, told_as=lambda job_id: of_response(ID + job_id))
    return replace(spec, policy=policy)


async def _kept(
    record: ResponseRecord, submitted: Submitted, stored: StoredResponses, begins_ms: int
) -> Events:
    """Store the response if it is to be, and give it its date. A job whose response can't be found
    again is stopped; not one that its client comes back to with a key."""
    job_id = submitted.job_id
    try:
        if record.stored:
            await stored.store.put(job_id, record, begins_ms)
        created_at = await stored.readers.records.submitted_s(job_id)
    except BaseException as error:
        submitted.readers[0].detach()
        end = submitted.stop if isinstance(error, ApiError) else submitted.leave
        end()
        raise
    created_s = int(time.time()) if created_at is None else created_at
    return record.events(job_id, created_s, submitted.sampling, FIELDS)


async def _streamed(
    events: Events, submitted: Submitted, context: RequestContext, *, resumable: bool
) -> Response:
    readers = context.readers
    silence_s = min(readers.keepalive_s, SILENCE_S)

    def stream_from(begun: Sequence[Entry]) -> ResponseStream:
        [reader] = submitted.readers
        return ResponseStream(
            reader, readers.records, silence_s, events, begun, resumable=resumable
        )

    return await streamed(submitted, context, FIELDS, stream_from, silence_s)


def _stores(body: ResponsesBody, enabled: bool) -> tuple[bool, Sequence[str]]:
    """Whether a response is stored, and the fields that could not be honoured.

    Raises ApiError for a response in the background that is not stored.
    """
    stores = enabled and body.store is not False
    if body.background and not stores:
        sentence = "A response in the background must be stored."
        raise ApiError("unsupported", sentence, param="background")
    return stores, ("store",) if body.store and not stores else ()


def _sent(body: ResponsesBody, urls: DataUrls) -> list[Json]:
    """The request's items as they are kept: with images that were cut out of its body."""
    items: list[Json] = [
        {"type": "message"} | item.model_dump(exclude_none=True) for item in body.input
    ]
    for item in items:
        for part in (*_parts(item, "content"), *_parts(item, "output")):
            image = urls.get(part.get("image_url", ""))
            if image is not None:
                part["image_url"] = str(image, "ascii")
    return items


def _parts(item: Json, name: str) -> list[Json]:
    value = item.get(name)
    return value if isinstance(value, list) else []


def _refused_in_stream(body: ResponsesBody, error: ApiError) -> Response:
    """A refusal as a response that begins and fails."""
    made = ResponseObject(new_job_id(), int(time.time()), body.model or "", asked_for(body))
    events = Events(made, Expansion("", View({})), FIELDS)
    stream = sent([*events.beginning(), *events.failed(error)])
    return Response(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
