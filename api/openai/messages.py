"""The messages of OpenAI's requests: turns with texts, images, thinking and calls of tools.

Knows no models and no queue.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, FailFast, Field

from api.chat.content import MAY_BE_EMPTY, ContentPart, as_parts, draft_parts
from api.errors import ApiError
from api.images.draft import DraftMessage
from api.openai import other_fields
from api.schemas import Lenient, Text
from api.serving.open_body import Open
from api.serving.tools import MOST_TOOLS
from wire.messages import ToolCall


class CalledFunction(Lenient):
    name: Text
    arguments: Text | None = None


class CalledTool(Lenient):
    without_effect: ClassVar[frozenset[str]] = frozenset({"index"})

    id: Text
    type: Literal["function"] | None = None
    function: CalledFunction


class Message(Open):
    """One turn. An assistant's and a tool's may be without content. An assistant's ``refusal`` is a
    text as well, behind its content.

    ``reasoning`` is what an assistant thought, as answers tell it; ``reasoning_content`` is its
    older name. The last message may be a ``prefix``, which the answer continues.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[
        list[ContentPart],
        FailFast(),
        BeforeValidator(as_parts, json_schema_input_type=str | list[ContentPart] | None),
    ] = Field(default_factory=list)
    refusal: Text | None = None
    name: Text | None = None
    reasoning: Text | None = None
    reasoning_content: Text | None = None
    tool_calls: Annotated[list[CalledTool], Field(max_length=MOST_TOOLS)] | None = None
    tool_call_id: Text | None = None
    prefix: bool | None = None

    def draft(self, index: int) -> DraftMessage:
        """The message on its way to a job.

        Raises ApiError for one that says nothing, or asks for what isn't had.
        """
        other_fields.refuse(self.others, other_fields.MESSAGE_REFUSED, f"messages[{index}].")
        self._check_assistants(index)
        if not self.content and self.role not in MAY_BE_EMPTY:
            sentence = f"A message of role {self.role} needs content."
            raise ApiError("invalid_request", sentence, param=f"messages[{index}].content")
        return DraftMessage(
            "system" if self.role == "developer" else self.role,
            (*draft_parts(self.content), *([self.refusal] if self.refusal else ())),
            name=self.name,
            tool_calls=tuple(
                ToolCall(
                    id=call.id,
                    name=call.function.name,
                    arguments="{}" if call.function.arguments is None else call.function.arguments,
                )
                for call in self.tool_calls or ()
            ),
            tool_call_id=self.tool_call_id,
            reasoning=self.reasoning or self.reasoning_content,
        )

    def _check_assistants(self, index: int) -> None:
        """Raises ApiError for a field that only an assistant's message has, in another's."""
        if self.role == "assistant":
            return
        for name in ("refusal", "reasoning", "reasoning_content"):
            if getattr(self, name):
                sentence = f"Only a message of role assistant has {name}."
                raise ApiError("unsupported", sentence, param=f"messages[{index}].{name}")
