"""A response's events and their numbers, from the entries of its job's log.

``sequence_number`` is worked out from where in the answer an event stands: each token position has
a range of numbers of its own, and a piece's events take the first ones of the range in which it
begins. So it is the same whenever and wherever the log is read, and however its entries were
grouped. What is left of a range is for signs of life, which are in no log. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from api.errors import ApiError
from api.responses.answer.expansion import Expansion
from api.responses.answer.output_items import Json, Status
from api.responses.answer.response_object import ResponseObject, Unended
from api.serving.reading import Fields, refused
from wire.messages import Delta, Event, Failed, Finished, Warning

RANGE = 1024
"""Numbers a token position has. A piece has as many positions as tokens, and a call, which takes
several tokens, makes four or five events; hours of signs of life fit in."""


class Events:
    """What one reader of a log, from its start, is told."""

    def __init__(self, response: ResponseObject, expansion: Expansion, answer: Fields) -> None:
        self._response = response
        self._expansion = expansion
        self._answer = answer
        self._place = 0
        self._told = -1

    def beginning(self) -> list[Json]:
        """The events before any of the log's; their range is that in front of the answer."""
        response = self._response.going_on()
        kinds = ("response.created", "response.in_progress")
        return self._numbered(0, [{"type": kind, "response": response} for kind in kinds])

    def of(self, event: Event) -> list[Json]:
        """The events of the log's next entry."""
        if isinstance(event, Delta):
            return self._pieces(event)
        if isinstance(event, Warning):
            self._response.warn(event.text)
        elif isinstance(event, Finished):
            return self._numbered(_first(self._place), self._finished(event))
        elif isinstance(event, Failed):
            return self.failed(refused(event, self._answer), event)
        return []

    def whole(self, logged: Iterable[Event]) -> Json:
        """The response of a job that has ended well, given its whole log."""
        told: list[Json] = []
        for event in logged:
            told = self.of(event)
        response: Json = told[-1]["response"]
        return response

    def so_far(self, logged: Iterable[Event], status: Unended) -> Json:
        """The response of a job that goes on, given its log so far."""
        for event in logged:
            self.of(event)
        return self._response.going_on(self._expansion.output("in_progress"), status)

    def sign_of_life(self) -> Json:
        """``response.in_progress`` again, under the next number. Once a range is used up the number
        stays."""
        event = {"type": "response.in_progress", "response": self._response.going_on()}
        return self._numbered(min(self._told + 1, _first(self._place) - 1), [event])[0]

    def failed(self, error: ApiError, end: Failed | None = None) -> list[Json]:
        """The last event of a response that failed, or that can't be followed any further."""
        output = self._expansion.output()
        usage = None if end is None else end.usage
        response = self._response.failed(output, error, usage)
        event = {"type": "response.failed", "response": response}
        return self._numbered(_first(self._place), [event])

    def _pieces(self, delta: Delta) -> list[Json]:
        events = []
        for piece in delta.apart():
            events += self._numbered(_first(self._place), self._expansion.piece(piece))
            self._place += piece.positions
        return events

    def _finished(self, end: Finished) -> list[Json]:
        whole = end.finish_reason == "stop"
        status: Status = "completed" if whole else "incomplete"
        events = self._expansion.end(status, needs_message=end.finish_reason != "cancelled")
        response = self._response.finished(self._expansion.output(), end)
        kind = "response.completed" if whole else "response.incomplete"
        return [*events, {"type": kind, "response": response}]

    def _numbered(self, first: int, events: list[Json]) -> list[Json]:
        for number, event in enumerate(events, first):
            event["sequence_number"] = self._told = number
        return events


def _first(position: int) -> int:
    """The first number of the range of a position. The first range is in front of the answer."""
    return (position + 1) * RANGE
