"""Content blocks of Anthropic's requests. Knows no models and no queue."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, FailFast, Field

from api.errors import ApiError
from api.http.data_urls import PLACEHOLDER
from api.images.draft import ImageUrl
from api.schemas import MOST_LEVELS, Lenient, Text, is_shallow, whole
from wire.messages import ToolCall

MOST_ID = 256
MOST_NAME = 128
OWN_ID = "toolu_"
"""What this service writes before a call's id: the rest is the worker's, and nine characters long,
as some models' templates want it."""
_OWN_LENGTH = 9

Name = Annotated[str, Field(min_length=1, max_length=MOST_NAME), AfterValidator(whole)]
Id = Annotated[str, Field(min_length=1, max_length=MOST_ID), AfterValidator(whole)]


def as_blocks(content: Any) -> Any:
    """A plain text as the list of blocks that it stands for: one shape to report errors in."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _storable(arguments: dict[str, Any]) -> dict[str, Any]:
    if not is_shallow(arguments):
        raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep")
    written(arguments)
    return arguments


def written(arguments: dict[str, Any]) -> str:
    """A call's arguments as text. Raises ValueError for what isn't JSON."""
    return whole(json.dumps(arguments, ensure_ascii=False, allow_nan=False))


class Block(Lenient):
    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_control"})


class TextBlock(Block):
    without_effect: ClassVar[frozenset[str]] = Block.without_effect | {"citations"}

    type: Literal["text"]
    text: Text


class Base64Source(Lenient):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Text


class UrlSource(Lenient):
    type: Literal["url"]
    url: Text


class ImageBlock(Block):
    type: Literal["image"]
    source: Annotated[Base64Source | UrlSource, Field(discriminator="type")]

    def draft(self, field: str) -> ImageUrl:
        """The image on its way to a job; ``field`` is where it is."""
        source = self.source
        if isinstance(source, UrlSource):
            return ImageUrl(source.url, field, "source")
        return ImageUrl(f"data:{source.media_type};base64,{source.data}", field, "source")


class ThinkingBlock(Block):
    """What an assistant thought. Signatures are not looked at: who sends it may have changed it."""

    without_effect: ClassVar[frozenset[str]] = Block.without_effect | {"signature"}

    type: Literal["thinking"]
    thinking: Text


class RedactedThinkingBlock(Block):
    """Thinking that only another service can read: it says nothing here."""

    type: Literal["redacted_thinking"]
    data: Text | None = None


class ToolUseBlock(Block):
    without_effect: ClassVar[frozenset[str]] = Block.without_effect | {"caller"}

    type: Literal["tool_use"]
    id: Id
    name: Name
    input: Annotated[dict[str, Any], AfterValidator(_storable)]

    def call(self, field: str) -> ToolCall:
        """The call on its way to a job. Raises ApiError for one that can't be kept."""
        arguments = written(self.input)
        if f'"{PLACEHOLDER}' in arguments:
            # An image's payload was cut out of the body, and this isn't an image.
            sentence = "A tool's input holds an image that is too large."
            raise ApiError("too_large", sentence, param=f"{field}.input")
        return ToolCall(id=own_id(self.id), name=self.name, arguments=arguments)


ResultContent = Annotated[TextBlock | ImageBlock, Field(discriminator="type")]


class ToolResultBlock(Block):
    type: Literal["tool_result"]
    tool_use_id: Id
    content: Annotated[
        list[ResultContent],
        FailFast(),
        BeforeValidator(
            lambda content: [] if content is None else as_blocks(content),
            json_schema_input_type=str | list[ResultContent] | None,
        ),
    ] = Field(default_factory=list)
    is_error: bool | None = None


ContentBlock = Annotated[
    TextBlock | ImageBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock,
    Field(discriminator="type"),
]


def own_id(tool_use_id: str) -> str:
    """The id that the worker gave a call; of another service's call the id as it is."""
    rest = tool_use_id.removeprefix(OWN_ID)
    is_own = rest != tool_use_id and len(rest) == _OWN_LENGTH and rest.isalnum()
    return rest if is_own else tool_use_id


def told(blocks: Iterable[Block], field: str) -> tuple[str | ImageUrl, ...]:
    """The texts and images among blocks, on their way to a job."""
    return tuple(
        block.text if isinstance(block, TextBlock) else block.draft(f"{field}[{number}]")
        for number, block in enumerate(blocks)
        if isinstance(block, (TextBlock, ImageBlock))
    )
