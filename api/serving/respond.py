"""The HTTP response to a request whose one job exists: its answer as a stream, or whole.

Knows no API's shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastapi import Response
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError

from api.chat.stream import Stream
from api.serving.reading import HOLD_S, BoundStream, Fields, begin, header, whole
from api.serving.submission import RequestContext, Submitted
from wire.log_entries import Entry
from wire.messages import Event, Finished

Json = dict[str, Any]


async def streamed(
    submitted: Submitted,
    context: RequestContext,
    answer: Fields,
    stream_from: Callable[[Sequence[Entry]], Stream],
    silence_s: float,
    warning_named: Callable[[str], str] = str,
) -> Response:
    """The stream that ``stream_from`` makes of the job's first entries and of what follows.

    Its headers wait for the prompt to be accepted, but no longer than a stream may be silent.
    ``warning_named`` is a warning in the API's own words. Raises ApiError for a job that fails
    before it says anything.
    """
    [reader] = submitted.readers
    limit_s = min(HOLD_S, silence_s)
    first = await begin(reader, answer, context.request, limit_s, submitted.leave)
    if first is None:
        return Response()  # the client has gone
    warnings = header([*submitted.warnings, *map(warning_named, first.warnings)])
    stream = stream_from(first.entries)
    waits = {} if first.entries else await place_headers(submitted.job_id, context)
    return BoundStream(reader, stream, submitted.leave, submitted.headers | warnings | waits)


async def place_headers(job_id: str, context: RequestContext) -> dict[str, str]:
    """Where a job stands in the queue, if it waits: its position and the seconds it may take."""
    try:
        place = await context.readers.records.place(job_id)
    except RedisError:
        return {}
    if place is None:
        return {}
    return {"X-Queue-Position": str(place.position), "X-Queue-Wait": f"{place.wait_s:.1f}"}


class Ended(NamedTuple):
    """All events of a job, and the last of them."""

    events: Sequence[Event]
    end: Finished


async def end_of(submitted: Submitted, context: RequestContext, answer: Fields) -> Ended | None:
    """The one job's good end; None if the client has gone. Raises ApiError for one that failed."""
    [reader] = submitted.readers
    records = context.readers.records
    events = await whole(reader, answer, records, context.request, submitted.leave)
    if events is None:
        return None
    end = events[-1]
    assert isinstance(end, Finished), "whole() answers with a good end or not at all"
    return Ended(events, end)


async def unstreamed(
    submitted: Submitted,
    context: RequestContext,
    answer: Fields,
    body_of: Callable[[Sequence[Event], Finished], Json],
) -> Response:
    """What ``body_of`` makes of all the job's events and its end. Raises ApiError for one that
    failed."""
    ended = await end_of(submitted, context, answer)
    if ended is None:
        return Response()  # the client has gone
    body, end = body_of(*ended), ended.end
    headers = submitted.headers | header(body.get("warnings", ()))
    if end.finish_reason == "cancelled":
        headers["X-Cancelled"] = "true"
    return JSONResponse(body, headers=headers)
