"""The chat routes of the native API: start a chat, read one again, stop.

What may be refused is refused before a stream's headers are sent. How a chat gets into the queue is
acceptance's.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from api.auth.caller import Caller, CallerOf
from api.chat.request import ChatSpec, seed_or_any
from api.chat.schemas import ChatRequest, StopRequest
from api.chat.stream import EventStream, Stream, StreamOptions
from api.chat.submit import accept, find_model
from api.errors import ApiError
from api.http.body_routes import CHAT, LongBodyRoute, takes
from api.http.head_requests import GetAlone
from api.jobs.idempotency import once
from api.jobs.queue import Policy
from api.jobs.records import JobRecord
from api.services import JsonOnly, Parts, PartsOf, TakenOf
from wire.messages import Sampling

router = APIRouter(
    prefix="/api/engine/chat", tags=["Chat"], dependencies=[JsonOnly], route_class=LongBodyRoute
)

_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
_STREAM_OR_NOTHING: dict[int | str, dict[str, Any]] = _STREAM | {
    204: {"description": "The cursor is at the end."}
}
_CURSOR = re.compile("[0-9]{1,15}")


@router.post("", response_class=StreamingResponse, responses=_STREAM)
@takes(CHAT)
async def chat(
    body: ChatRequest,
    parts: PartsOf,
    taken: TakenOf,
    caller: CallerOf,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    """Queue a chat and stream its answer; under a key that was used before, stream that chat
    from its start."""
    key = await once(idempotency_key, caller.owner, body, taken)
    if key is not None and (earlier := await parts.jobs.made_before(key)) is not None:
        return await _again(earlier, 0, parts, caller)
    made = await accept(
        ask(body), await find_model(body.model_id, parts), parts, taken, caller, key
    )
    if isinstance(made, str):
        return await _again(made, 0, parts, caller)
    options = StreamOptions(body.stream_options.wanted(), parts.settings.keepalive_s)
    return EventStream(made, Stream(made, parts.lookup, options, "queued"))


def ask(body: ChatRequest) -> ChatSpec:
    """What a request asks for."""
    sampling = Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        repetition_penalty=body.repetition_penalty,
        max_tokens=body.max_tokens,
        seed=seed_or_any(body.seed),
    )
    policy = Policy(body.on_disconnect, body.stream_options.wanted())
    return ChatSpec([message.draft() for message in body.messages], sampling, policy)


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses=_STREAM_OR_NOTHING,
    dependencies=[GetAlone],
)
async def events(
    job_id: str,
    parts: PartsOf,
    caller: CallerOf,
    last_event_id: Annotated[str | None, Header()] = None,
    after: Annotated[str | None, Query()] = None,
) -> Response:
    """Read a chat from where the cursor points; the header, which browsers send by themselves,
    wins."""
    return await _again(
        job_id, _cursor(last_event_id if last_event_id is not None else after), parts, caller
    )


async def _again(job_id: str, cursor: int, parts: Parts, caller: Caller) -> Response:
    """What follows the cursor of a chat that was queued before."""
    record = await parts.lookup.record(job_id, caller.owner)
    if record is None or record.kind != "chat":
        raise ApiError("job_not_found", "There is no such job.")
    if await _nothing_left(record, cursor, parts):
        # The one answer upon which a browser's EventSource doesn't come back.
        return Response(status_code=204, headers={"X-Job-Id": job_id})
    await parts.attendance.note([job_id])
    reader = parts.relay.attach(job_id, cursor, replay=True, by_tokens=record.by_tokens)
    options = StreamOptions(record.stream_options, parts.settings.keepalive_s)
    return EventStream(reader, Stream(reader, parts.lookup, options, record.state))


def _cursor(text: str | None) -> int:
    if text is None:
        return 0
    if _CURSOR.fullmatch(text) is None:
        raise ApiError("bad_request", "The cursor is not one: send the id of the last event.")
    return int(text)


async def _nothing_left(record: JobRecord, cursor: int, parts: Parts) -> bool:
    """Whether the client has seen the end. Raises ApiError for text that has expired and a
    cursor from elsewhere."""
    # Of a job that goes on, Redis may have lost the end, when it was killed: the text comes again
    # up to the cursor.
    if record.state != "ended":
        return False
    last = await parts.lookup.last_position(record)
    if last == 0:
        raise ApiError("expired", "The text of this job has expired.")
    if cursor > last:
        raise ApiError("bad_request", "The cursor is beyond the end of this job's events.")
    return cursor == last


@router.post("/stop")
async def stop(parts: PartsOf, caller: CallerOf, body: StopRequest | None = None) -> dict[str, str]:
    """Stop one chat, or all of the caller's."""
    if body is None or body.job_id is None:
        await parts.jobs.stop_all(caller.owner)
    else:
        await parts.jobs.stop(body.job_id, caller.owner)
    return {"status": "stopped"}
