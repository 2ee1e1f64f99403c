"""A job's log as the event stream of a response. Knows nothing of RQ or Redis names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from api.jobs.reader import Reader
from api.jobs.records import JobRecords
from api.responses.answer.events import Events
from api.responses.answer.output_items import Json, encoded
from api.serving.reading import AnswerStream, interrupted
from wire.log_entries import Entry

SILENCE_S = 10.0
"""After so long without an event clients are told that the response is still in progress: several
don't count comments as life."""


def sent(events: Iterable[Json]) -> bytes:
    return b"".join(map(encoded, events))


class ResponseStream(AnswerStream):
    """The bytes of a streamed response.

    Nothing follows the last event: the connection is closed. Events up to the number ``after`` are
    left out. One that is ``resumable`` ends without an event when this process stops: it goes on at
    another.
    """

    def __init__(
        self,
        reader: Reader,
        records: JobRecords,
        keepalive_s: float,
        events: Events,
        begun: Sequence[Entry] = (),
        *,
        after: int = -1,
        resumable: bool = False,
    ) -> None:
        super().__init__(reader, records, keepalive_s, begun)
        self._events = events
        self._after, self._resumable = after, resumable

    def _cut_off(self) -> bytes:
        return b"" if self._resumable else sent(self._events.failed(interrupted()))

    def _beginning(self) -> bytes:
        return self._new(self._events.beginning()) + super()._beginning()

    def _frame(self, entry: Entry) -> bytes:
        return self._new(self._events.of(entry.event))

    def _new(self, events: Iterable[Json]) -> bytes:
        return sent(one for one in events if one["sequence_number"] > self._after)

    def _heartbeat(self) -> bytes:
        return sent([self._events.sign_of_life()])
