"""The chat routes of the native API: start a chat, read one again, stop.

What may be refused is refused before a stream's headers are sent. How a chat gets into the queue is
the business of api.chat.submit.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from api.auth.caller import Caller, CallerOf
from api.chat.readers import ChatReaders
from api.chat.schemas import ChatRequest, StopRequest
from api.chat.stream import EventStream, Stream, StreamOptions
from api.chat.submit import Chats
from api.deps import JsonOnly, service
from api.errors import ApiError
from api.http.body_routes import CHAT, DataUrlsOf, LongBodyRoute, takes
from api.http.head_requests import GetAlone
from api.jobs.idempotency import idempotency_key_of
from api.jobs.queue import JobQueue
from api.jobs.records import JobRecord, JobRecords
from api.jobs.waiting.priorities import PRIORITY_OF, TierHeadersOf
from api.registry import workers_outdated
from wire.sampling_used import used
from wire.webhooks.outbox import TELLS_ENDS

router = APIRouter(
    prefix="/api/engine/chat", tags=["Chat"], dependencies=[JsonOnly], route_class=LongBodyRoute
)

ReadersOf = Annotated[ChatReaders, service(ChatReaders)]

_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
_STREAM_OR_NOTHING: dict[int | str, dict[str, Any]] = _STREAM | {
    204: {"description": "The cursor is at the end."}
}
_CURSOR = re.compile("[0-9]{1,15}")


@router.post("", response_class=StreamingResponse, responses=_STREAM)
@takes(CHAT)
async def chat(
    body: ChatRequest,
    chats: Annotated[Chats, service(Chats)],
    readers: ReadersOf,
    urls: DataUrlsOf,
    caller: CallerOf,
    headers: TierHeadersOf,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    """Queue a chat and stream its answer; a key that was used before streams that chat again."""
    key = await idempotency_key_of(idempotency_key, caller.owner, body, urls)
    if key is not None and (earlier := await chats.jobs.existing_job(key)) is not None:
        return await _again(earlier, readers, caller)
    model = await chats.find_model(body.model_id, caller.owner)
    if body.webhook and await chats.registry.oldest_version() < TELLS_ENDS:
        raise workers_outdated("webhook")
    spec = await chats.fitting(body.spec(), model)
    tier = await chats.jobs.tier_for(spec.policy.asked or headers.asked, caller.owner)
    spec = replace(spec, policy=replace(spec.policy, tier=tier))
    submitted = await chats.submit(spec, model, urls, caller, key)
    if isinstance(submitted, str):
        return await _again(submitted, readers, caller)
    wanted = spec.policy.stream_options
    options = StreamOptions(wanted, readers.keepalive_s, used(spec.sampling))
    stream = EventStream(submitted, Stream(submitted, readers.records, options, "queued"))
    stream.headers["X-Priority"] = PRIORITY_OF[tier]
    return stream


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses=_STREAM_OR_NOTHING,
    dependencies=[GetAlone],
)
async def events(
    job_id: str,
    readers: ReadersOf,
    caller: CallerOf,
    last_event_id: Annotated[str | None, Header()] = None,
    after: Annotated[str | None, Query()] = None,
) -> Response:
    """Read a chat from the cursor on; the header, which browsers send, takes precedence."""
    cursor = _cursor(last_event_id if last_event_id is not None else after)
    return await _resume(job_id, cursor, readers, caller)


async def _again(job_id: str, readers: ChatReaders, caller: Caller) -> Response:
    """The chat that was queued by the first request with the same key."""
    response = await _resume(job_id, 0, readers, caller)
    _, tier = await readers.records.run_with(job_id)
    response.headers["X-Priority"] = PRIORITY_OF[tier]
    return response


async def _resume(job_id: str, cursor: int, readers: ChatReaders, caller: Caller) -> Response:
    """What follows the cursor of a chat that was queued before."""
    record = await readers.records.record(job_id, caller.owner)
    if record is None or record.kind != "chat":
        raise ApiError("job_not_found", "There is no such job.")
    if await _nothing_left(record, cursor, readers.records):
        # The one response after which a browser's EventSource doesn't reconnect.
        return Response(status_code=204, headers={"X-Job-Id": job_id})
    reader = await readers.attach(job_id, cursor, by_tokens=record.by_tokens)
    options = StreamOptions(record.stream_options, readers.keepalive_s, record.sampling)
    return EventStream(reader, Stream(reader, readers.records, options, record.state))


def _cursor(text: str | None) -> int:
    if text is None:
        return 0
    if _CURSOR.fullmatch(text) is None:
        raise ApiError("bad_request", "The cursor is not one: send the id of the last event.")
    return int(text)


async def _nothing_left(record: JobRecord, cursor: int, records: JobRecords) -> bool:
    """Whether the client has seen the end.

    Raises ApiError for text that has expired and a cursor from elsewhere.
    """
    # Of a job that goes on, Redis may have lost the end, when it was killed: the text comes again
    # up to the cursor.
    if record.state != "ended":
        return False
    last = await records.last_position(record)
    if last == 0:
        raise ApiError("expired", "The text of this job has expired.")
    if cursor > last:
        raise ApiError("bad_request", "The cursor is beyond the end of this job's events.")
    return cursor == last


@router.post("/stop")
async def stop(
    jobs: Annotated[JobQueue, service(JobQueue)],
    caller: CallerOf,
    body: StopRequest | None = None,
) -> dict[str, str]:
    """Stop one chat, or all of the caller's."""
    if body is None or body.job_id is None:
        await jobs.stop_all(caller.owner)
    else:
        await jobs.stop(body.job_id, caller.owner)
    return {"status": "stopped"}
