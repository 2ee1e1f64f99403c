"""Content parts of messages, in the shape that OpenAI's API has for them and this one shares.

Lenient for OpenAI's routes, strict for the native ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from api.images.draft import ImageUrl
from api.schemas import Body, Lenient, Text


def _as_url(image: Any) -> Any:
    """A URL by itself, as many clients send it, in the object that OpenAI's API has for it."""
    return {"url": image} if isinstance(image, str) else image


MAY_BE_EMPTY = ("assistant", "tool")
"""Roles whose messages may be without content, which is an empty text then: an assistant may have
called tools, or said nothing, and a tool may have no result."""


def as_parts(content: Any) -> Any:
    """A plain text, or nothing, as the list of parts that it stands for: one shape to report errors
    in."""
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class TextPart(Lenient):
    """A text; the other types are what OpenAI's Responses API calls the texts of users and
    answers."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"annotations", "logprobs"})

    type: Literal["text", "input_text", "output_text"]
    text: Text


class RefusalPart(Lenient):
    """What an assistant said in place of an answer: a text as well."""

    type: Literal["refusal"]
    refusal: Text


class Url(Lenient):
    without_effect: ClassVar[frozenset[str]] = frozenset({"detail"})

    url: Text


class ImagePart(Lenient):
    type: Literal["image_url"]
    image_url: Annotated[Url, BeforeValidator(_as_url, json_schema_input_type=Url | str)]


# The base named last decides about unknown fields.
class TextContent(TextPart, Body):
    pass


class RefusalContent(RefusalPart, Body):
    pass


class StrictUrl(Url, Body):
    pass


class ImageContent(ImagePart, Body):
    image_url: Annotated[
        StrictUrl, BeforeValidator(_as_url, json_schema_input_type=StrictUrl | str)
    ]


ContentPart = Annotated[TextPart | RefusalPart | ImagePart, Field(discriminator="type")]
StrictContentPart = Annotated[
    TextContent | RefusalContent | ImageContent, Field(discriminator="type")
]


def draft_parts(
    content: Iterable[TextPart | RefusalPart | ImagePart],
) -> tuple[str | ImageUrl, ...]:
    """The parts on their way to a job."""
    return tuple(map(_drafted, content))


def _drafted(part: TextPart | RefusalPart | ImagePart) -> str | ImageUrl:
    if isinstance(part, TextPart):
        return part.text
    return part.refusal if isinstance(part, RefusalPart) else ImageUrl(part.image_url.url)
