"""The items of a Responses request: messages, thinking, calls of tools and their outputs.

Knows no models and no queue; what a conversation is made of them is told in turns.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, FailFast, Field, Tag

from api.chat.content import RefusalPart, TextPart, as_parts
from api.responses.tools import Name, Tools
from api.schemas import Lenient, Text, whole
from api.serving.open_body import Open

CallId = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(whole)]

HOSTED_ITEMS = frozenset(
    {
        "file_search_call",
        "web_search_call",
        "computer_call",
        "computer_call_output",
        "code_interpreter_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "tool_search_call",
        "tool_search_output",
        "program",
        "program_output",
    }
)
"""What tools did that OpenAI runs itself: left out of the conversation, and named."""


class ImagePart(Lenient):
    without_effect: ClassVar[frozenset[str]] = frozenset({"detail"})

    type: Literal["input_image"]
    image_url: Text


Part = Annotated[TextPart | RefusalPart | ImagePart, Field(discriminator="type")]
Parts = Annotated[
    list[Part],
    FailFast(),
    BeforeValidator(as_parts, json_schema_input_type=str | list[Part] | None),
]


class MessageItem(Lenient):
    without_effect: ClassVar[frozenset[str]] = frozenset({"id", "status", "phase"})

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts


class Call(Lenient):
    """What the calls of functions and of custom tools have in common."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"id", "status", "caller"})

    call_id: CallId
    name: Name
    namespace: Name | None = None


class FunctionCall(Call):
    type: Literal["function_call"]
    arguments: Text


class CustomCall(Call):
    type: Literal["custom_tool_call"]
    input: Text


class CallOutput(Lenient):
    """What a tool answered, to a call of the same ``call_id`` before it."""

    without_effect: ClassVar[frozenset[str]] = frozenset(
        {"id", "status", "caller", "name", "namespace"}
    )

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: CallId
    output: Parts


class ReasoningPart(Lenient):
    type: Literal["reasoning_text", "summary_text", "text"]
    text: Text


class ReasoningItem(Lenient):
    without_effect: ClassVar[frozenset[str]] = frozenset({"id", "status"})

    type: Literal["reasoning"]
    summary: list[ReasoningPart] | None = None
    content: list[ReasoningPart] | None = None
    encrypted_content: Text | None = None


class ItemReference(Lenient):
    type: Literal["item_reference"] | None = None
    id: Text


class AdditionalTools(Lenient):
    without_effect: ClassVar[frozenset[str]] = frozenset({"id", "role"})

    type: Literal["additional_tools"]
    tools: Tools


class HostedItem(Open):
    type: Text


def _tag(item: Any) -> str | None:
    if not isinstance(item, dict):
        return "hosted" if isinstance(item, HostedItem) else _tag_of(getattr(item, "type", None))
    kind = item.get("type")
    if kind is None:
        return "message" if "role" in item else "item_reference" if "id" in item else None
    return _tag_of(kind)


def _tag_of(kind: Any) -> str | None:
    if kind is None:
        return "message"
    if not isinstance(kind, str):
        return None
    return "hosted" if kind in HOSTED_ITEMS else kind


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[CustomCall, Tag("custom_tool_call")]
    | Annotated[CallOutput, Tag("function_call_output")]
    | Annotated[CallOutput, Tag("custom_tool_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")]
    | Annotated[AdditionalTools, Tag("additional_tools")]
    | Annotated[HostedItem, Tag("hosted")],
    Discriminator(_tag),
]


def _as_items(sent: Any) -> Any:
    """A plain text as the user's message that it stands for."""
    if isinstance(sent, str):
        return [{"type": "message", "role": "user", "content": sent}]
    return sent


Input = Annotated[
    list[Item],
    FailFast(),
    Field(min_length=1),
    BeforeValidator(_as_items, json_schema_input_type=str | list[Item]),
]
