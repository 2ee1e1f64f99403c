"""The turns of a conversation in Anthropic's shape, as the messages that a job holds.

A user's turn with results of tools becomes a message for each result, and one for what else it
says. Knows no models and no queue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, FailFast

from api.anthropic.blocks import (
    ContentBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    as_blocks,
    own_id,
    told,
)
from api.errors import ApiError
from api.images.draft import DraftMessage
from api.serving.open_body import Open
from wire.messages import ToolCall

_BILLING = re.compile(r"\s*x-anthropic-billing-header:[^\n]*\n?", re.IGNORECASE)
"""A line that Claude Code writes at the head of the system prompt, other with each request: behind
it nothing of the prompt could come from the prompt cache."""
_FAILED = "Error: "
"""What a template is told of a result with ``is_error``: templates have no field for it."""
_BETWEEN = "\n\n"
_OF_ASSISTANTS = ("thinking", "redacted_thinking", "tool_use")


class Turn(Open):
    role: Literal["user", "assistant", "system"]
    content: Annotated[
        list[ContentBlock],
        FailFast(),
        BeforeValidator(as_blocks, json_schema_input_type=str | list[ContentBlock]),
    ]


def system_message(blocks: Sequence[TextBlock]) -> list[DraftMessage]:
    """The system prompt as a message, without billing lines; none if it says nothing."""
    text = _BETWEEN.join(block.text for block in blocks if block.text)
    while (found := _BILLING.match(text)) is not None:
        text = text[found.end() :]
    return [DraftMessage("system", (text.lstrip("\n"),))] if text.strip() else []


class Conversation:
    """The messages of turns, one after another. A call and its result must stand side by side."""

    def __init__(self, messages: Iterable[DraftMessage]) -> None:
        self.messages = list(messages)
        self._calls: dict[str, ToolCall] = {}
        """Calls without a result yet, by the ids in the request."""
        self._caller = 0
        self._answered = False

    def add(self, turn: Turn, index: int) -> None:
        """Take the next turn. Raises ApiError for one that doesn't fit."""
        field = f"messages[{index}]"
        _check_role(turn, field)
        if turn.role == "assistant":
            self._assistant(turn, index)
        elif turn.role == "user":
            self._user(turn, field)
        else:
            self._say(turn, field)

    def end(self) -> None:
        """Raises ApiError for a call without a result."""
        if self._calls:
            raise ApiError(
                "invalid_request",
                "`tool_use` ids were found without `tool_result` blocks immediately after. Each "
                "`tool_use` block must have a corresponding `tool_result` block in the next "
                "message.",
                param=f"messages[{self._caller}]",
            )

    def _assistant(self, turn: Turn, index: int) -> None:
        if self._answered:
            self.end()
        self._answered = False
        calls = []
        for number, block in enumerate(turn.content):
            if isinstance(block, ToolUseBlock):
                field = f"messages[{index}].content[{number}]"
                if block.id in self._calls:
                    sentence = "`tool_use` ids must be unique."
                    raise ApiError("invalid_request", sentence, param=f"{field}.id")
                self._calls[block.id] = call = block.call(field)
                self._caller = index
                calls.append(call)
        thoughts = [block.thinking for block in turn.content if isinstance(block, ThinkingBlock)]
        self.messages.append(
            DraftMessage(
                "assistant",
                told(turn.content, f"messages[{index}].content"),
                tool_calls=tuple(calls),
                reasoning=_BETWEEN.join(filter(None, thoughts)) or None,
            )
        )

    def _user(self, turn: Turn, field: str) -> None:
        self._answered = True
        for number, block in enumerate(turn.content):
            if isinstance(block, ToolResultBlock):
                self.messages.append(self._result(block, f"{field}.content[{number}]"))
        self.end()
        others = [block for block in turn.content if not isinstance(block, ToolResultBlock)]
        if others or not turn.content:
            self._say(turn, field)

    def _result(self, block: ToolResultBlock, field: str) -> DraftMessage:
        call = self._calls.pop(block.tool_use_id, None)
        if call is None:
            raise ApiError(
                "invalid_request",
                "unexpected `tool_use_id` found in `tool_result` blocks. Each `tool_result` block "
                "must have a corresponding `tool_use` block in the previous message.",
                param=f"{field}.tool_use_id",
            )
        parts = told(block.content, f"{field}.content")
        return DraftMessage(
            "tool",
            (_FAILED, *parts) if block.is_error else parts,
            name=call.name,
            tool_call_id=own_id(block.tool_use_id),
        )

    def _say(self, turn: Turn, field: str) -> None:
        parts = told(turn.content, f"{field}.content")
        if not parts:
            sentence = f"A message of role {turn.role} needs content."
            raise ApiError("invalid_request", sentence, param=f"{field}.content")
        self.messages.append(DraftMessage("user" if turn.role == "user" else "system", parts))


def _check_role(turn: Turn, field: str) -> None:
    """Raises ApiError for a block that a message of this role doesn't have."""
    for number, block in enumerate(turn.content):
        kind = block.type
        if (
            (kind in _OF_ASSISTANTS and turn.role != "assistant")
            or (kind == "tool_result" and turn.role != "user")
            or (kind == "image" and turn.role != "user")
        ):
            raise ApiError(
                "invalid_request",
                f"`{kind}` blocks can't be in a message of role {turn.role}.",
                param=f"{field}.content[{number}].type",
            )
