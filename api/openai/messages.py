"""The messages of OpenAI's requests: turns with texts, images, thinking and calls of tools.

Knows no models and no queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    FailFast,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)

from api.chat.content import ContentPart, as_parts, draft_parts
from api.errors import ApiError
from api.images.draft import DraftMessage
from api.openai import other_fields
from api.openai.tools import MOST_TOOLS
from api.schemas import Lenient, Text
from wire.messages import ToolCall


class Open(Lenient):
    """A body that keeps unknown fields, so that they can be honoured, refused or named."""

    _others: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _noting_others(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        read = handler(data)
        if isinstance(data, dict):
            others = {name: value for name, value in data.items() if name not in cls.model_fields}
            if others:  # Setting it costs, and most messages have none.
                read._others = others
        return read

    @property
    def others(self) -> Mapping[str, Any]:
        """The fields that this shape doesn't have, as they were sent."""
        return self._others


def _as_parts(content: Any) -> Any:
    """A message without content has no parts: it may call tools instead."""
    return [] if content is None else as_parts(content)


class CalledFunction(Lenient):
    name: Text
    arguments: Text = "{}"


class CalledTool(Lenient):
    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Open):
    """One turn. Only an assistant's may be without content: it called tools instead.

    ``reasoning`` is what an assistant thought, as answers tell it; ``reasoning_content`` is its
    older name.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[list[ContentPart], FailFast(), BeforeValidator(_as_parts)] = Field(
        default_factory=list
    )
    name: Text | None = None
    reasoning: Text | None = None
    reasoning_content: Text | None = None
    tool_calls: Annotated[list[CalledTool], Field(max_length=MOST_TOOLS)] | None = None
    tool_call_id: Text | None = None

    def draft(self, index: int) -> DraftMessage:
        """The message on its way to a job.

        Raises ApiError for one that says nothing, or asks for what isn't had.
        """
        other_fields.refuse(self.others, other_fields.MESSAGE_REFUSED, f"messages[{index}].")
        if not self.content and not (self.role == "assistant" and self.tool_calls):
            sentence = f"A message of role {self.role} needs content."
            raise ApiError("invalid_request", sentence, param=f"messages[{index}].content")
        return DraftMessage(
            "system" if self.role == "developer" else self.role,
            draft_parts(self.content),
            name=self.name,
            tool_calls=tuple(
                ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
                for call in self.tool_calls or ()
            ),
            tool_call_id=self.tool_call_id,
            reasoning=(self.reasoning or self.reasoning_content)
            if self.role == "assistant"
            else None,
        )
