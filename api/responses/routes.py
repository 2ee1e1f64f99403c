"""``POST /v1/responses``: a thin translation of what the native API does.

A client that goes away ends its job at once. Errors have OpenAI's shape; api.errors sees to that.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from api.deps import JsonOnly
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES, ApiError
from api.http.body_routes import CHAT, LongBodyRoute, takes
from api.http.data_urls import DataUrls
from api.jobs.idempotency import idempotency_key_of
from api.jobs.ids import new_job_id
from api.jobs.reader import Reader
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


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A request whose job exists: its reader, its events, what its answer's headers say."""

    reader: Reader
    events: Events
    leave: Callable[[], None]
    headers: dict[str, str]
    warnings: tuple[str, ...]
    resumable: bool


async def _answer(
    body: ResponsesBody, context: RequestContext, stored: StoredResponses
) -> Response:
    submitted = await _submitted(body, context, stored)
    if body.background and not body.stream:
        submitted.reader.detach()
        found = await stored.find(ID + submitted.reader.job_id)
        return JSONResponse(await stored.now(found), headers=submitted.headers)
    respond = _streamed if body.stream else _whole
    return await respond(submitted, context)


async def _submitted(
    body: ResponsesBody, context: RequestContext, stored: StoredResponses
) -> _Submitted:
    chats = context.chats
    body = await with_items(body, stored)
    earlier = await earlier_items(body.previous_response_id, stored)
    asked = body.asked(read(earlier))
    stores, ignored = _stores(body, stored.store.enabled)
    key = await idempotency_key_of(
        context.idempotency_key, context.caller.owner, body, context.urls
    )
    model = await find_model(body.model, chats)
    check_images(asked.spec, model)
    spec = await context.schemas.settle(await chats.fitting(asked.spec, model))
    (reader,), sampling = await submitted_jobs([spec], model, key, context)
    job_id = reader.job_id
    context.note_job(job_id)
    # A client that sends a key may come back with it: its job goes on for a while without a reader.
    stop = functools.partial(stop_soon, chats.jobs, job_id, context.caller)
    record = ResponseRecord(
        context.caller.owner,
        await model_name(body.model, model, chats),
        asked_for(body),
        view_of(body, asked.tools),
        spec.warnings,
        background=bool(body.background),
        stored=stores,
    )
    if stores:
        items = (*earlier, *named(_sent(body, context.urls), job_id, len(earlier)))
        await _keep(job_id, replace(record, items=items), stored, reader, stop)
    created_at = await context.readers.records.submitted_s(job_id)
    events = record.events(
        job_id, int(time.time()) if created_at is None else created_at, sampling, FIELDS
    )
    headers = {"X-Job-Id": job_id}
    if all_ignored := (*asked.ignored, *ignored):
        headers["X-Ignored-Fields"] = other_fields.named(all_ignored)
    leave = stop if key is None and not body.background else keep_running
    return _Submitted(reader, events, leave, headers, spec.warnings, bool(body.background))


def _stores(body: ResponsesBody, enabled: bool) -> tuple[bool, Sequence[str]]:
    """Whether a response is stored, and the fields that could not be honoured.

    Raises ApiError for a response in the background that is not stored.
    """
    stores = enabled and body.store is not False
    if body.background and not stores:
        sentence = "A response in the background must be stored."
        raise ApiError("unsupported", sentence, param="background")
    return stores, ("store",) if body.store and not stores else ()


async def _keep(
    job_id: str,
    record: ResponseRecord,
    stored: StoredResponses,
    reader: Reader,
    stop: Callable[[], None],
) -> None:
    try:
        await stored.store.put(job_id, record)
    except BaseException:
        reader.detach()
        stop()
        raise


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


async def _streamed(submitted: _Submitted, context: RequestContext) -> Response:
    reader, leave = submitted.reader, submitted.leave
    keepalive_s = min(context.readers.keepalive_s, SILENCE_S)
    first = await begin(reader, FIELDS, context.request, min(HOLD_S, keepalive_s), leave)
    if first is None:
        return Response()  # the client has gone
    records = context.readers.records
    stream = ResponseStream(
        reader,
        records,
        keepalive_s,
        submitted.events,
        first.entries,
        resumable=submitted.resumable,
    )
    warnings = header([*submitted.warnings, *first.warnings])
    return BoundStream(reader, stream, leave, submitted.headers | warnings)


async def _whole(submitted: _Submitted, context: RequestContext) -> Response:
    records = context.readers.records
    logged = await whole(submitted.reader, FIELDS, records, context.request, submitted.leave)
    if logged is None:
        return Response()  # the client has gone
    body, headers = submitted.events.whole(logged), submitted.headers
    if body["status"] == "cancelled":
        headers["X-Cancelled"] = "true"
    return JSONResponse(body, headers=headers | header(body.get("warnings", ())))


def _refused_in_stream(body: ResponsesBody, error: ApiError) -> Response:
    """A refusal as a response that begins and fails."""
    made = ResponseObject(new_job_id(), int(time.time()), body.model or "", asked_for(body))
    events = Events(made, Expansion("", View({})), FIELDS)
    stream = sent([*events.beginning(), *events.failed(error)])
    return Response(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
