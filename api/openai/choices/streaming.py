"""Several answers read at once: as one stream whose chunks come as tokens do, or all at the end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence

from starlette.requests import Request

from api.chat.stream import Stream, StreamOptions
from api.http.event_stream import EventStreamResponse
from api.jobs.reader import Reader
from api.jobs.records import JobRecords
from api.openai.choices.answer import ChoicesAnswer
from api.openai.choices.readers import ChoiceReaders
from api.openai.streaming import DONE, sse
from api.serving.reading import Beginning, Collected, interrupted, refused, unless_gone
from wire.log_entries import Entry
from wire.messages import Event, Failed, Finished

_NO_OPTIONS = StreamOptions(frozenset(), math.inf)
"""Comments that keep the connection are the whole response's, not an answer's."""


class _ChoiceStream(Stream):
    """The chunks of one answer. ``end`` is how it ended, once it has; ``error`` why it could not be
    read."""

    def __init__(
        self,
        index: int,
        reader: Reader,
        records: JobRecords,
        answer: ChoicesAnswer,
        begun: Sequence[Entry],
    ) -> None:
        super().__init__(reader, records, _NO_OPTIONS, "")
        self._index, self._answer, self._begun = index, answer, begun
        self.end: Finished | Failed | None = None
        self.error: Exception | None = None

    def _beginning(self) -> bytes:
        return b"".join(map(self._frame, self._begun))

    def _frame(self, entry: Entry) -> bytes:
        event = entry.event
        if isinstance(event, (Finished, Failed)):
            self.end = event
        if isinstance(event, Failed):
            return b""
        return b"".join(map(sse, self._answer.chunks(self._index, event)))


class ChoicesStream:
    """The bytes of a streamed response.

    A failure of one answer ends it: the error comes last, before the same line as after a good end.
    """

    def __init__(
        self,
        group: ChoiceReaders,
        records: JobRecords,
        keepalive_s: float,
        answer: ChoicesAnswer,
        beginnings: Sequence[Beginning],
    ) -> None:
        self._group = group
        self._answer = answer
        self._keepalive_s = keepalive_s
        self._streams = [
            _ChoiceStream(index, reader, records, answer, beginning.entries)
            for index, (reader, beginning) in enumerate(zip(group.readers, beginnings, strict=True))
        ]
        # Bounded, so that a slow client's text waits in the log.
        self._chunks: asyncio.Queue[bytes | _ChoiceStream] = asyncio.Queue(len(self._streams))
        self._tasks: list[asyncio.Task[None]] = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._tasks = [asyncio.create_task(self._read(stream)) for stream in self._streams]
        yield b": queued\n\n"
        going_on = len(self._streams)
        while going_on:
            chunk, ended = await self._next()
            going_on -= len(ended)
            if chunk:
                yield chunk
            for one in ended:
                if one.error is not None:
                    raise one.error
                if isinstance(one.end, Failed):
                    self._group.fail()
                    yield sse(refused(one.end, self._answer.first).openai()) + DONE
                    return
        yield self._last()

    def close(self) -> None:
        """Synchronous: the request's task may be being cancelled."""
        for task in self._tasks:
            task.cancel()
        self._group.close()

    async def _read(self, stream: _ChoiceStream) -> None:
        try:
            async for chunk in stream:
                await self._chunks.put(chunk)
        except Exception as error:  # raised again where the response is written
            stream.error = error
        await self._chunks.put(stream)

    async def _next(self) -> tuple[bytes, list[_ChoiceStream]]:
        """What has come of all answers, as one piece, and the answers that have ended."""
        try:
            async with asyncio.timeout(self._keepalive_s):
                came = [await self._chunks.get()]
        except TimeoutError:
            return b": keep-alive\n\n", []
        while not self._chunks.empty():
            came.append(self._chunks.get_nowait())
        chunk = b"".join(piece for piece in came if isinstance(piece, bytes))
        return chunk, [piece for piece in came if isinstance(piece, _ChoiceStream)]

    def _last(self) -> bytes:
        ends = [one.end for one in self._streams if isinstance(one.end, Finished)]
        if len(ends) < len(self._streams):
            return sse(interrupted().openai()) + DONE
        return b"".join(map(sse, self._answer.last(ends))) + DONE


class ChoicesResponse(EventStreamResponse):
    """The response of a :class:`ChoicesStream`: a client that disconnects ends all answers."""

    def __init__(
        self, group: ChoiceReaders, stream: ChoicesStream, headers: Mapping[str, str]
    ) -> None:
        super().__init__(stream, gone=group.leave_all, over=stream.close, headers=headers)


async def whole(
    group: ChoiceReaders, answer: ChoicesAnswer, records: JobRecords, request: Request
) -> tuple[list[list[Event]], list[Finished]] | None:
    """All events of each job, and their ends; None if the client has gone, and all has been closed.

    Raises ApiError if one failed, and if the ends can't be waited for here.
    """
    collected = [Collected(reader, records) for reader in group.readers]
    try:
        if not await unless_gone(_collect(group, collected), request):
            return None
    finally:
        group.close()
    ends = [one.end for one in collected]
    failed = next((end for end in ends if isinstance(end, Failed)), None)
    if failed is not None:
        raise refused(failed, answer.first)
    good = [end for end in ends if isinstance(end, Finished)]
    if len(good) < len(ends):
        raise interrupted()
    return [one.events for one in collected], good


async def _collect(group: ChoiceReaders, collected: Sequence[Collected]) -> None:
    async def collect(one: Collected) -> None:
        await one.collect()
        if isinstance(one.end, Failed):
            group.fail()

    await asyncio.gather(*map(collect, collected))
