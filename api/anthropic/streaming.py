"""A job's events as Anthropic's clients read them: a stream of named events. Knows nothing of RQ or
Redis names."""

from __future__ import annotations

import json
from collections.abc import Sequence

from api.anthropic.answer import Json, MessageAnswer
from api.jobs.reader import Reader
from api.jobs.records import JobRecords
from api.serving.reading import AnswerStream, interrupted, refused
from wire.log_entries import Entry
from wire.messages import Failed

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
MOST_SILENT_S = 10.0
"""Agents give up a stream that says nothing, and comments say nothing to some of them."""


def sse(data: Json) -> bytes:
    """An event with its name."""
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode("ascii")


class EventsStream(AnswerStream):
    """The bytes of a streamed message."""

    def __init__(
        self,
        reader: Reader,
        records: JobRecords,
        keepalive_s: float,
        answer: MessageAnswer,
        begun: Sequence[Entry] = (),
    ) -> None:
        super().__init__(reader, records, keepalive_s, begun)
        self._answer = answer

    def _cut_off(self) -> bytes:
        return sse(interrupted().anthropic(self._reader.job_id))

    def _beginning(self) -> bytes:
        # First what is told already: its warnings stand in the first event.
        begun = super()._beginning()
        return sse(self._answer.start()) + begun

    def _heartbeat(self) -> bytes:
        return PING

    def _frame(self, entry: Entry) -> bytes:
        event = entry.event
        if isinstance(event, Failed):
            return sse(refused(event, self._answer).anthropic(self._reader.job_id))
        return b"".join(sse(told) for told in self._answer.events(event))
