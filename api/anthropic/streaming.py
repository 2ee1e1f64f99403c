"""A job's events as Anthropic's clients read them: a stream of named events. Knows nothing of RQ or
Redis names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from api.anthropic.answer import Json, MessageAnswer
from api.chat.stream import Stream, StreamOptions
from api.jobs.reader import Reader
from api.jobs.records import JobRecords
from api.serving.reading import interrupted, refused
from wire.log_entries import Entry
from wire.messages import Failed

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
MOST_SILENT_S = 10.0
"""Agents give up a stream that says nothing, and comments say nothing to some of them."""


def sse(data: Json) -> bytes:
    """An event with its name."""
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode("ascii")


class EventsStream(Stream):
    """The bytes of a streamed message, from a beginning that has been read already."""

    def __init__(
        self,
        reader: Reader,
        records: JobRecords,
        keepalive_s: float,
        answer: MessageAnswer,
        request_id: str,
        begun: Sequence[Entry] = (),
    ) -> None:
        options = StreamOptions(frozenset(), min(MOST_SILENT_S, keepalive_s))
        super().__init__(reader, records, options, "")
        self._answer = answer
        self._request_id = request_id
        self._begun = begun

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in super().__aiter__():
            yield chunk
        if not self._reader.ended:
            yield sse(interrupted().anthropic(self._request_id))

    def _beginning(self) -> bytes:
        # First what is told already: its warnings stand in the first event.
        begun = b"".join(self._frame(entry) for entry in self._begun)
        return sse(self._answer.start()) + begun

    def _heartbeat(self) -> bytes:
        return PING

    def _frame(self, entry: Entry) -> bytes:
        event = entry.event
        if isinstance(event, Failed):
            return sse(refused(event, self._answer).anthropic(self._request_id))
        return b"".join(sse(told) for told in self._answer.events(event))
