"""A job's events as OpenAI's clients read them: a stream of chunks, or all at once.

A client that goes away before the end ends its job. Knows nothing of RQ or Redis names.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.chat.stream import EventStream, Stream, StreamOptions
from api.errors import RETRY_SOON_S, ApiError
from api.jobs.reader import Reader
from api.jobs.records import JobRecords
from api.openai.responses import Answer, Json
from wire.log_entries import Entry
from wire.messages import Event, Failed, Finished, Progress, Warning

DONE = b"data: [DONE]\n\n"
HOLD_S = 10.0
"""How long the headers of a stream wait for the prompt to be accepted: until then a refusal is an
HTTP status."""


def _sse(data: Json) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode("ascii")


def interrupted() -> ApiError:
    """The error for a client whose stream can't go on here."""
    return ApiError("job_lost", "The service is restarting. Send the request again.", RETRY_SOON_S)


def refused(event: Failed, answer: Answer) -> ApiError:
    """A job's failure as the client's error."""
    return ApiError(event.code, event.message, param=answer.param_of(event.code))


def header(warnings: Sequence[str]) -> dict[str, str]:
    """The response header that lists warnings."""
    return {"X-Warning": " ".join(warnings)} if warnings else {}


class Beginning:
    """The first events of a job, read before its stream begins."""

    def __init__(self, reader: Reader, answer: Answer) -> None:
        self._reader = reader
        self._answer = answer
        self.entries: list[Entry] = []

    async def read(self, limit_s: float) -> None:
        """Wait for it, so many seconds at most.

        Raises ApiError for a job that fails before it says anything.
        """
        until = time.monotonic() + limit_s
        while (
            not self._known
            and not self._reader.closed
            and (remaining_s := until - time.monotonic()) > 0
        ):
            self.entries += await self._reader.batch(remaining_s)
        failed = next((event for event in self._events if isinstance(event, Failed)), None)
        if failed is not None and all(
            isinstance(event, (Failed, Progress, Warning)) for event in self._events
        ):
            raise refused(failed, self._answer)

    @property
    def warnings(self) -> list[str]:
        return [event.text for event in self._events if isinstance(event, Warning)]

    @property
    def _known(self) -> bool:
        # A model that is being loaded hasn't seen the prompt yet.
        return any(
            not isinstance(event, Progress) or event.state == "prefill" for event in self._events
        )

    @property
    def _events(self) -> list[Event]:
        return [entry.event for entry in self.entries]


class ChunkStream(Stream):
    """The bytes of a streamed answer, from a beginning that has been read already.

    After an error comes the same last line as after a good end.
    """

    def __init__(
        self,
        reader: Reader,
        records: JobRecords,
        keepalive_s: float,
        answer: Answer,
        begun: Sequence[Entry] = (),
    ) -> None:
        super().__init__(reader, records, StreamOptions(frozenset(), keepalive_s), "queued")
        self._answer = answer
        self._begun = begun

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in super().__aiter__():
            yield chunk
        if not self._reader.ended:
            yield _sse(interrupted().openai()) + DONE

    def _beginning(self) -> bytes:
        return b"".join(self._frame(entry) for entry in self._begun)

    def _frame(self, entry: Entry) -> bytes:
        event = entry.event
        if isinstance(event, Failed):
            return _sse(refused(event, self._answer).openai()) + DONE
        chunks = b"".join(_sse(chunk) for chunk in self._answer.chunks(event))
        return chunks + DONE if isinstance(event, Finished) else chunks


class Collected(Stream):
    """A stream that isn't sent: its events are collected until it has ended."""

    def __init__(self, reader: Reader, records: JobRecords) -> None:
        super().__init__(reader, records, StreamOptions(frozenset(), 60.0), "queued")
        self.events: list[Event] = []

    def _frame(self, entry: Entry) -> bytes:
        self.events.append(entry.event)
        return b""

    async def collect(self) -> None:
        """Read to the end, or until this process stops."""
        async for _ in self:
            pass


class BoundStream(EventStream):
    """A response that calls ``leave`` when the client disconnects before the end."""

    def __init__(
        self,
        reader: Reader,
        stream: Stream,
        leave: Callable[[], None],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reader, stream)
        self.headers.update(headers or {})
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self._reader.ended:
                self._leave()


async def begin(
    reader: Reader, answer: Answer, request: Request, limit_s: float, leave: Callable[[], None]
) -> Beginning | None:
    """What a job says first; None when the client has gone, upon which ``leave`` has been called.

    Raises ApiError for a job that fails before it says anything.
    """
    beginning = Beginning(reader, answer)
    try:
        if await _unless_gone(beginning.read(limit_s), request):
            return beginning
    except BaseException:
        _end(reader, leave)
        raise
    _end(reader, leave)
    return None


async def whole(
    reader: Reader, answer: Answer, records: JobRecords, request: Request, leave: Callable[[], None]
) -> list[Event] | None:
    """All events of a job, its end last; None if the client has gone, after ``leave``.

    Raises ApiError for a job that failed, and for one whose end can't be waited for here.
    """
    collected = Collected(reader, records)
    try:
        if not await _unless_gone(collected.collect(), request):
            return None
    finally:
        _end(reader, leave)
    end = collected.events[-1] if collected.events else None
    if isinstance(end, Failed):
        raise refused(end, answer)
    if not isinstance(end, Finished):
        raise interrupted()
    return collected.events


def _end(reader: Reader, leave: Callable[[], None]) -> None:
    reader.detach()
    if not reader.ended:
        leave()


async def _unless_gone(work: Coroutine[Any, Any, None], request: Request) -> bool:
    """Await something unless the client disconnects first; returns whether it was done."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()
    finally:
        working.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
