"""A message as a request holds it: its images are URLs that have not been read or stored yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wire.messages import ImagePart, Message, Part, Role, TextPart, ToolCall


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """An image as a request holds it. ``place`` is its part's field, where that isn't a content
    part of the message of the same number; ``field`` is where in the part it is."""

    url: str
    place: str | None = None
    field: str = "image_url"


@dataclass(frozen=True, slots=True)
class DraftMessage:
    """A message before its images are stored."""

    role: Role
    parts: tuple[str | ImageUrl, ...]
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = None

    @property
    def can_go_on(self) -> bool:
        """Whether an answer can go on in its words."""
        texts = [part for part in self.parts if isinstance(part, str)]
        is_plain = len(texts) == len(self.parts) and not self.tool_calls
        return self.role == "assistant" and is_plain and bool("".join(texts) or self.reasoning)


def first_image(drafts: Sequence[DraftMessage]) -> str | None:
    """The field of a request that holds the first image of its messages; None without any."""
    for index, draft in enumerate(drafts):
        for number, part in enumerate(draft.parts):
            if isinstance(part, ImageUrl):
                return place_of(part, index, number)
    return None


def place_of(image: ImageUrl, message: int, part: int) -> str:
    """The field that holds an image's part."""
    return f"messages[{message}].content[{part}]" if image.place is None else image.place


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
