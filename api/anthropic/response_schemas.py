"""Responses of Anthropic's routes for the OpenAPI schema.

Only described, never validated against: api.anthropic.answer builds them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Described(BaseModel):
    """What isn't named here isn't sent; what has a default may be missing."""

    model_config = ConfigDict(extra="forbid")


class ThinkingTokens(_Described):
    thinking_tokens: int


class CacheCreation(_Described):
    ephemeral_5m_input_tokens: Literal[0]
    ephemeral_1h_input_tokens: Literal[0]


class MessageUsage(_Described):
    """``input_tokens`` are those that had to be read; the others came from the prompt cache."""

    input_tokens: int
    cache_creation_input_tokens: Literal[0]
    cache_read_input_tokens: int
    cache_creation: CacheCreation
    output_tokens: int
    output_tokens_details: ThinkingTokens
    server_tool_use: None
    service_tier: Literal["standard", "priority"]
    inference_geo: None


class TextContent(_Described):
    type: Literal["text"]
    text: str
    citations: Annotated[list[str], Field(max_length=0)]


class ThinkingContent(_Described):
    type: Literal["thinking"]
    thinking: str
    signature: str


class DirectCaller(_Described):
    type: Literal["direct"]


class ToolUseContent(_Described):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    caller: DirectCaller


Content = Annotated[TextContent | ThinkingContent | ToolUseContent, Field(discriminator="type")]
StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


class AnthropicMessage(_Described):
    """``warnings`` are present when there are any, ``cancelled`` when the chat was stopped.

    ``sampling`` is what was used, defaults and seed included, but for the stop texts.
    """

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Content]
    stop_reason: StopReason | None
    stop_sequence: str | None
    stop_details: None
    container: None
    usage: MessageUsage
    warnings: list[str] = []
    cancelled: bool = False
    sampling: dict[str, Any] = {}


_HEADERS: dict[str, Any] = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in (
        ("X-Job-Id", "The job that answers."),
        ("Request-Id", "The same; of a refusal some id."),
        ("X-Request-Id", "The same again."),
        ("X-Warning", "Warnings known before the answer began."),
        ("X-Ignored-Fields", "Fields of the request that changed nothing."),
        ("X-Cancelled", "The chat was stopped; not on streams."),
    )
}
_EVENTS = (
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "ping",
    "error",
)


class InputTokens(BaseModel):
    """What ``/v1/messages/count_tokens`` answers."""

    input_tokens: int


def answers() -> dict[int | str, dict[str, Any]]:
    """The successful responses: JSON, or a stream of events."""
    event = {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"enum": list(_EVENTS)},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
    }
    content = {"text/event-stream": {"schema": event}}
    return {200: {"model": AnthropicMessage, "content": content, "headers": _HEADERS}}
