"""Reading a job's answer for APIs that end it when their client goes away: what comes first, all at
once, or as a stream.

Knows no API's shapes, and nothing of RQ or Redis names.
"""

from __future__ import annotations

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.chat.stream import EventStream, Stream, StreamOptions
from api.errors import RETRY_SOON_S, ApiError
from api.jobs.reader import Reader
from api.jobs.records import JobRecords
from wire.log_entries import Entry
from wire.messages import ErrorCode, Event, Failed, Finished, Progress, Warning

_NOT_IN_HEADERS = re.compile("[^ -~]")
_MOST_IN_HEADER = 2048
"""Characters of warnings in a header: proxies refuse responses with longer ones."""
OF_THE_PROMPT: tuple[ErrorCode, ...] = ("prompt_too_long", "bad_prompt", "template_failed")
"""How jobs end whose prompt is at fault."""
HOLD_S = 10.0
"""How long the headers of a stream wait for the prompt to be accepted: until then a refusal is an
HTTP status."""


class Fields(Protocol):
    """Knows an API's names of fields."""

    def param_of(self, code: ErrorCode) -> str | None:
        """The field that a job's bad end is the fault of."""


def interrupted() -> ApiError:
    """The error for a client whose stream can't go on here."""
    return ApiError("job_lost", "The service is restarting. Send the request again.", RETRY_SOON_S)


def refused(event: Failed, answer: Fields) -> ApiError:
    """A job's failure as the client's error."""
    param = event.param or answer.param_of(event.code)
    return ApiError(event.code, event.message, param=param)


def header(warnings: Sequence[str]) -> dict[str, str]:
    """The response header that lists warnings, as one line of ASCII: they may name what a schema
    calls its properties. In the body they are whole."""
    if not warnings:
        return {}
    told = _NOT_IN_HEADERS.sub("?", " ".join(warnings))
    return {
        "X-Warning": told[: _MOST_IN_HEADER - 3] + "..." if len(told) > _MOST_IN_HEADER else told
    }


class Beginning:
    """The first events of a job, read before its stream begins."""

    def __init__(self, reader: Reader, answer: Fields) -> None:
        self._reader = reader
        self._answer = answer
        self.entries: list[Entry] = []

    async def read(self, limit_s: float) -> None:
        """Wait for it, so many seconds at most.

        Raises ApiError for a job that fails before it says anything.
        """
        await self.wait(limit_s, lambda: self.known)
        if (refusal := self.refusal) is not None:
            raise refusal

    async def wait(self, limit_s: float, enough: Callable[[], bool]) -> None:
        """Wait until ``enough`` holds when the reader wakes up, so many seconds at most."""
        until = time.monotonic() + limit_s
        while (
            not enough()
            and not self._reader.closed
            and (remaining_s := until - time.monotonic()) > 0
        ):
            self.entries += await self._reader.batch(remaining_s)

    @property
    def refusal(self) -> ApiError | None:
        """The error of a job that failed before it said anything."""
        failed = next((event for event in self.events if isinstance(event, Failed)), None)
        silent = all(isinstance(event, (Failed, Progress, Warning)) for event in self.events)
        return refused(failed, self._answer) if failed is not None and silent else None

    @property
    def warnings(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Warning)]

    @property
    def known(self) -> bool:
        """Whether the prompt has been accepted, or the job has ended."""
        # A model that is being loaded hasn't seen the prompt yet.
        return any(
            not isinstance(event, Progress) or event.state == "prefill" for event in self.events
        )

    @property
    def events(self) -> list[Event]:
        return [entry.event for entry in self.entries]


class Collected(Stream):
    """A stream that isn't sent: its events are collected until it has ended."""

    def __init__(self, reader: Reader, records: JobRecords) -> None:
        super().__init__(reader, records, StreamOptions(frozenset(), 60.0), "queued")
        self.events: list[Event] = []

    @property
    def end(self) -> Event | None:
        """The last event: how the job ended, once it has."""
        return self.events[-1] if self.events else None

    def _frame(self, entry: Entry) -> bytes:
        self.events.append(entry.event)
        return b""

    async def collect(self) -> None:
        """Read to the end, or until this process stops."""
        async for _ in self:
            pass


class AnswerStream(Stream, ABC):
    """The bytes of a streamed answer, from a beginning that has been read already.

    ``state`` is what the first comment says, if it is something.
    """

    def __init__(
        self,
        reader: Reader,
        records: JobRecords,
        keepalive_s: float,
        begun: Sequence[Entry],
        state: str = "",
    ) -> None:
        super().__init__(reader, records, StreamOptions(frozenset(), keepalive_s), state)
        self._begun = begun

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in super().__aiter__():
            yield chunk
        if not self._reader.ended and (told := self._cut_off()):
            yield told

    def _beginning(self) -> bytes:
        return b"".join(map(self._frame, self._begun))

    @abstractmethod
    def _cut_off(self) -> bytes:
        """What ends a stream that can't go on here, if anything does."""


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
    reader: Reader, answer: Fields, request: Request, limit_s: float, leave: Callable[[], None]
) -> Beginning | None:
    """What a job says first; None when the client has gone, upon which ``leave`` has been called.

    Raises ApiError for a job that fails before it says anything.
    """
    beginning = Beginning(reader, answer)
    try:
        if await unless_gone(beginning.read(limit_s), request):
            return beginning
    except BaseException:
        _end(reader, leave)
        raise
    _end(reader, leave)
    return None


async def whole(
    reader: Reader, answer: Fields, records: JobRecords, request: Request, leave: Callable[[], None]
) -> list[Event] | None:
    """All events of a job, its end last; None if the client has gone, after ``leave``.

    Raises ApiError for a job that failed, and for one whose end can't be waited for here.
    """
    collected = Collected(reader, records)
    try:
        if not await unless_gone(collected.collect(), request):
            return None
    finally:
        _end(reader, leave)
    end = collected.end
    if isinstance(end, Failed):
        raise refused(end, answer)
    if not isinstance(end, Finished):
        raise interrupted()
    return collected.events


def _end(reader: Reader, leave: Callable[[], None]) -> None:
    reader.detach()
    if not reader.ended:
        leave()


async def unless_gone(work: Coroutine[Any, Any, None], request: Request) -> bool:
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
