"""What the pieces of an answer are as events of a response: a fixed expansion.

A piece is what one step of the engine added, and the same however the log groups pieces and
whichever process reads it. So its events, and their order, depend on nothing but the pieces before
it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from api.responses.answer.output_items import (
    Call,
    CustomToolCall,
    Json,
    Message,
    OutputItem,
    Status,
    Thinking,
)
from api.responses.tools import ToolName
from wire.messages import Delta, TokenLogprob, ToolCallDelta


@dataclass(frozen=True, slots=True)
class View:
    """What a client wants to see of an answer, and how it names tools."""

    names: Mapping[str, ToolName]
    one_call: bool = False
    summary: bool = False
    hidden_thinking: bool = False


class Expansion:
    """The items of one answer, piece by piece."""

    def __init__(self, job_id: str, view: View) -> None:
        self._job_id = job_id
        self._view = view
        self._ended: list[Json] = []
        self._open: OutputItem | None = None
        self._calls = 0

    def piece(self, delta: Delta) -> list[Json]:
        """The events of one piece: what goes on with the open call, thinking, text, new calls."""
        events: list[Json] = []
        calls = list(delta.tool_calls)
        while calls and not calls[0].name:
            events += self._go_on(calls.pop(0).arguments)
        if delta.reasoning:
            events += self._think(delta.reasoning)
        if delta.text:
            events += self._say(delta.text, delta.logprobs)
        for call in calls:
            events += self._call(call) if call.name else self._go_on(call.arguments)
        return events

    def end(self, status: Status, *, needs_message: bool = False) -> list[Json]:
        """The events that end the last item; with ``needs_message`` an answer without any has an
        empty message."""
        if self._open is None and not self._ended and needs_message:
            return [*self._begin(Message(self._job_id, 0)), *self.end(status)]
        return self._close(status)

    def output(self, status: Status = "incomplete") -> list[Json]:
        """The items, the open one as it is so far, with this status."""
        unfinished = [] if self._open is None else [self._open.whole(status)]
        return [*self._ended, *unfinished]

    def _think(self, text: str) -> Iterator[Json]:
        if not isinstance(self._open, Thinking):
            view = self._view
            yield from self._close("completed")
            yield from self._begin(
                Thinking(
                    self._job_id, self._next, summary=view.summary, hidden=view.hidden_thinking
                )
            )
        assert isinstance(self._open, Thinking)
        yield from self._open.grow(text)

    def _say(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> Iterator[Json]:
        if not isinstance(self._open, Message):
            yield from self._close("completed")
            yield from self._begin(Message(self._job_id, self._next))
        assert isinstance(self._open, Message)
        yield from self._open.grow(text, [one.view() for one in logprobs])

    def _call(self, call: ToolCallDelta) -> Iterator[Json]:
        self._calls += 1
        yield from self._close("completed")
        if self._view.one_call and self._calls > 1:
            return
        name = self._view.names.get(call.name, ToolName("function", call.name))
        kind = CustomToolCall if name.kind == "custom" else Call
        yield from self._begin(kind(self._job_id, self._next, call.id, name))
        yield from self._go_on(call.arguments)

    def _go_on(self, arguments: str) -> list[Json]:
        # Nothing is open of a call that isn't wanted.
        return self._open.grow(arguments) if isinstance(self._open, Call) else []

    @property
    def _next(self) -> int:
        return len(self._ended)

    def _begin(self, item: OutputItem) -> list[Json]:
        self._open = item
        return item.begin()

    def _close(self, status: Status) -> list[Json]:
        item, self._open = self._open, None
        if item is None:
            return []
        events = item.end(status)
        self._ended.append(item.whole(status))
        return events
