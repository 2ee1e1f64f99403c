"""A message as a request holds it: its images are URLs that have not been read or stored yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wire.messages import ImagePart, Message, Part, Role, TextPart, ToolCall


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """An image as a request holds it."""

    url: str


@dataclass(frozen=True, slots=True)
class DraftMessage:
    """A message before its images are stored."""

    role: Role
    parts: tuple[str | ImageUrl, ...]
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = None


def message_of(draft: DraftMessage, stored: Mapping[str, ImagePart]) -> Message:
    """A draft with its images, by URL, stored."""
    content: str | tuple[Part, ...]
    if all(isinstance(part, str) for part in draft.parts):
        content = "".join(str(part) for part in draft.parts)
    else:
        content = tuple(
            stored[part.url] if isinstance(part, ImageUrl) else TextPart(text=part)
            for part in draft.parts
        )
    return Message(
        role=draft.role,
        content=content,
        name=draft.name,
        tool_calls=draft.tool_calls,
        tool_call_id=draft.tool_call_id,
        reasoning=draft.reasoning,
    )
