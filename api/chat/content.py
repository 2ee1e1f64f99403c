"""Content parts of messages, in the shape that OpenAI's API has for them and this one shares.

Lenient for OpenAI's routes, strict for the native ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from api.images.draft import ImageUrl
from api.schemas import Body, Lenient, Text


def _as_url(image: Any) -> Any:
    """A URL by itself, as many clients send it, in the object that OpenAI's API has for it."""
    return {"url": image} if isinstance(image, str) else image


def as_parts(content: Any) -> Any:
    """A plain text as the list of parts that it stands for: one shape to report errors in."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class TextPart(Lenient):
    type: Literal["text"]
    text: Text


class Url(Lenient):
    url: Text


class ImagePart(Lenient):
    type: Literal["image_url"]
    image_url: Annotated[Url, BeforeValidator(_as_url, json_schema_input_type=Url | str)]


# The base named last decides about unknown fields.
class TextContent(TextPart, Body):
    pass


class StrictUrl(Url, Body):
    pass


class ImageContent(ImagePart, Body):
    image_url: Annotated[
        StrictUrl, BeforeValidator(_as_url, json_schema_input_type=StrictUrl | str)
    ]


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]
StrictContentPart = Annotated[TextContent | ImageContent, Field(discriminator="type")]


def draft_parts(content: Iterable[TextPart | ImagePart]) -> tuple[str | ImageUrl, ...]:
    """The parts on their way to a job."""
    return tuple(
        part.text if isinstance(part, TextPart) else ImageUrl(part.image_url.url)
        for part in content
    )
