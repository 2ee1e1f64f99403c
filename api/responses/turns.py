"""The items of a request as the turns of a chat.

What an assistant thought, said and called, item by item, is one turn. Instructions and developer
messages become one leading system message. Knows no models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.chat.content import RefusalPart, TextPart
from api.errors import ApiError
from api.images.draft import DraftMessage, ImageUrl
from api.responses.items import (
    AdditionalTools,
    CallOutput,
    CustomCall,
    FunctionCall,
    HostedItem,
    ImagePart,
    ItemReference,
    MessageItem,
    ReasoningItem,
)
from api.responses.thinking import opened
from api.responses.tools import INPUT, flat_name
from wire.messages import ToolCall

_BETWEEN = "\n\n"
_KINDS = {"function_call_output": FunctionCall, "custom_tool_call_output": CustomCall}


@dataclass(slots=True)
class _Turn:
    """What an assistant does between two turns of others."""

    thought: list[str] = field(default_factory=list)
    parts: list[str | ImageUrl] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    def draft(self) -> DraftMessage:
        reasoning = "\n".join(self.thought) or None
        calls = tuple(self.calls)
        return DraftMessage("assistant", tuple(self.parts), tool_calls=calls, reasoning=reasoning)


@dataclass(slots=True)
class _Called:
    """A call, where it stands, and whether it has been answered."""

    item: FunctionCall | CustomCall
    place: str
    answered: bool = False


class Turns:
    """A conversation, item by item. ``ignored`` are fields that were left out of it."""

    def __init__(self, instructions: str | None) -> None:
        self.ignored: list[str] = []
        self._system = [instructions] if instructions else []
        self._messages: list[DraftMessage] = []
        self._turn: _Turn | None = None
        self._calls: dict[str, _Called] = {}

    def add(self, items: Iterable[Any], place: str = "input") -> None:
        """Take items in. Raises ApiError, which names the field, for what fits nowhere."""
        for number, item in enumerate(items):
            self._add(item, f"{place}[{number}]")

    def drafts(self, *, past_thinking: bool = True) -> list[DraftMessage]:
        """The messages. ``past_thinking``: what was thought before the last user's message is
        among them.

        Raises ApiError for calls without an output, and for a conversation without a turn.
        """
        self._end_turn()
        open_call = next((one for one in self._calls.values() if not one.answered), None)
        if open_call is not None:
            sentence = "This call has no output among the items behind it."
            raise ApiError("invalid_request", sentence, param=f"{open_call.place}.call_id")
        system = [DraftMessage("system", (_BETWEEN.join(self._system),))] if self._system else []
        if not self._messages and not system:
            raise ApiError("invalid_request", "The input holds no message.", param="input")
        messages = self._messages if past_thinking else _without_past_thinking(self._messages)
        return [*system, *messages]

    def _add(self, item: Any, place: str) -> None:
        if isinstance(item, MessageItem):
            self._add_message(item, place)
        elif isinstance(item, (FunctionCall, CustomCall)):
            self._add_call(item, place)
        elif isinstance(item, CallOutput):
            self._add_output(item, place)
        elif isinstance(item, ReasoningItem):
            self._assistant.thought += self._thinking(item)
        elif isinstance(item, HostedItem):
            self.ignored.append(f"input[].{item.type}")
        elif isinstance(item, ItemReference):
            sentence = "Items are not stored here: send the item in place of its id."
            raise ApiError("unsupported", sentence, param=f"{place}.id")
        else:
            assert isinstance(item, AdditionalTools), "tools are taken from the items before"

    @property
    def _assistant(self) -> _Turn:
        if self._turn is None:
            self._turn = _Turn()
        return self._turn

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._messages.append(self._turn.draft())
            self._turn = None

    def _add_message(self, item: MessageItem, place: str) -> None:
        parts = drafted(item.content, f"{place}.content")
        if item.role == "assistant":
            self._assistant.parts += parts
            return
        if not parts:
            sentence = f"A message of role {item.role} needs content."
            raise ApiError("invalid_request", sentence, param=f"{place}.content")
        if item.role == "user":
            self._end_turn()
            self._messages.append(DraftMessage("user", tuple(parts)))
            return
        if any(isinstance(part, ImageUrl) for part in parts):
            sentence = f"A message of role {item.role} holds texts alone."
            raise ApiError("unsupported", sentence, param=f"{place}.content")
        self._system.append("".join(map(str, parts)))

    def _add_call(self, item: FunctionCall | CustomCall, place: str) -> None:
        if item.call_id in self._calls:
            sentence = "Two calls have this id."
            raise ApiError("invalid_request", sentence, param=f"{place}.call_id")
        self._calls[item.call_id] = _Called(item, place)
        written = (
            json.dumps({INPUT: item.input}, ensure_ascii=False)
            if isinstance(item, CustomCall)
            else item.arguments
        )
        name = flat_name(item.name, item.namespace)
        self._assistant.calls.append(ToolCall(id=item.call_id, name=name, arguments=written))

    def _add_output(self, item: CallOutput, place: str) -> None:
        called = self._calls.get(item.call_id)
        if called is None or not isinstance(called.item, _KINDS[item.type]):
            sentence = "No call of this kind before it has this id."
            raise ApiError("invalid_request", sentence, param=f"{place}.call_id")
        if called.answered:
            sentence = "Another output answers this call already."
            raise ApiError("invalid_request", sentence, param=f"{place}.call_id")
        called.answered = True
        self._end_turn()
        self._messages.append(
            DraftMessage(
                "tool",
                tuple(drafted(item.output, f"{place}.output")),
                name=flat_name(called.item.name, called.item.namespace),
                tool_call_id=item.call_id,
            )
        )

    def _thinking(self, item: ReasoningItem) -> list[str]:
        """What an item says was thought: itself, or what its client carried unread, or a
        summary."""
        for texts in (item.content, None, item.summary):
            said = (
                opened(item.encrypted_content)
                if texts is None
                else "\n".join(part.text for part in texts)
            )
            if said:
                return [said]
        if item.encrypted_content:
            self.ignored.append("input[].encrypted_content")
        return []


def drafted(
    parts: Sequence[TextPart | RefusalPart | ImagePart], place: str
) -> list[str | ImageUrl]:
    """Parts on their way to a job."""
    return [_drafted(part, f"{place}[{number}]") for number, part in enumerate(parts)]


def _drafted(part: TextPart | RefusalPart | ImagePart, place: str) -> str | ImageUrl:
    if isinstance(part, TextPart):
        return part.text
    return part.refusal if isinstance(part, RefusalPart) else ImageUrl(part.image_url, place)


def _without_past_thinking(messages: Sequence[DraftMessage]) -> list[DraftMessage]:
    last = max((at for at, one in enumerate(messages) if one.role == "user"), default=-1)
    return [
        DraftMessage(one.role, one.parts, one.name, one.tool_calls, one.tool_call_id)
        if at < last
        else one
        for at, one in enumerate(messages)
    ]
