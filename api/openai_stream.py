"""A job's events as OpenAI's clients read them: a stream of chunks, or all at once.

A client that goes away before the end ends its job. Knows nothing of requests, RQ or Redis names.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.errors import RETRY_SOON_S, ApiError
from api.lookup import Lookup
from api.openai_answers import Answer, Json
from api.relay import Reader
from api.stream import EventStream, Stream, StreamOptions
from wire.log_entries import Entry
from wire.messages import Event, Failed, Finished

DONE = b"data: [DONE]\n\n"


def _sse(data: Json) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode("ascii")


def interrupted() -> ApiError:
    """What a client is told whose stream can't go on here."""
    return ApiError("job_lost", "The service is restarting. Send the request again.", RETRY_SOON_S)


class ChunkStream(Stream):
    """The bytes of a streamed answer. After an error comes the same last line as after a good end."""

    def __init__(self, reader: Reader, lookup: Lookup, keepalive_s: float, answer: Answer) -> None:
        super().__init__(reader, lookup, StreamOptions(frozenset(), keepalive_s), "queued")
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in super().__aiter__():
            yield chunk
        if not self._reader.ended:
            yield _sse(interrupted().openai()) + DONE

    def _frame(self, entry: Entry) -> bytes:
        event = entry.event
        if isinstance(event, Failed):
            return _sse(ApiError(event.code, event.message).openai()) + DONE
        chunks = b"".join(_sse(chunk) for chunk in self._answer.chunks(event))
        return chunks + DONE if isinstance(event, Finished) else chunks


class Collected(Stream):
    """A stream that nobody is sent: its events are kept until it has ended."""

    def __init__(self, reader: Reader, lookup: Lookup) -> None:
        super().__init__(reader, lookup, StreamOptions(frozenset(), 60.0), "queued")
        self.events: list[Event] = []

    def _frame(self, entry: Entry) -> bytes:
        self.events.append(entry.event)
        return b""

    async def collect(self) -> None:
        """Read to the end, or until this process goes away."""
        async for _ in self:
            pass


class BoundStream(EventStream):
    """A response whose job ends with it: ``leave`` is called when the client has gone before the end."""

    def __init__(self, reader: Reader, stream: Stream, leave: Callable[[], None]) -> None:
        super().__init__(reader, stream)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self._reader.ended:
                self._leave()


async def whole(reader: Reader, lookup: Lookup, request: Request, leave: Callable[[], None]) -> list[Event] | None:
    """All events of a job, its end last; None when the client has gone, upon which ``leave`` has been called.

    Raises ApiError for a job that failed, and for one whose end can't be waited for here.
    """
    collected = Collected(reader, lookup)
    reading = asyncio.create_task(collected.collect())
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            return None
        reading.result()
    finally:
        reading.cancel()
        leaving.cancel()
        reader.detach()
        if not reader.ended:
            leave()
    end = collected.events[-1] if collected.events else None
    if isinstance(end, Failed):
        raise ApiError(end.code, end.message)
    if not isinstance(end, Finished):
        raise interrupted()
    return collected.events


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
