"""Images of a request: checked by their headers, stored once by hash, replaced by a reference.

Never decodes pixels and never opens anything that a request names: only ``data:`` URLs come this far.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError
from redis.asyncio import Redis

from api.errors import ApiError
from wire import keys
from wire.messages import ImagePart, Message, Part, Role, TextPart

MAX_BYTES = 20_000_000
MAX_PIXELS = 40_000_000
_PREFIX = re.compile(r"data:image/(png|jpeg|webp|gif);base64,")
_ORIENTATION = 0x0112
_ON_THEIR_SIDE = (5, 6, 7, 8)

# Only headers are read here, and their sizes are judged below; Pillow's own limit would warn on the way.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """An image as a request holds it."""

    url: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before its images are stored."""

    role: Role
    parts: tuple[str | ImageUrl, ...]


@dataclass(frozen=True, slots=True)
class _Checked:
    part: ImagePart
    data: bytes


def _refused(sentence: str) -> ApiError:
    return ApiError("invalid_image", sentence)


async def store_images(messages: Sequence[Draft], redis: Redis) -> tuple[Message, ...]:
    """The messages with each image stored in Redis under its SHA-256.

    Raises ApiError ``invalid_image``; all images are checked before the first is stored.
    """
    checked: dict[str, _Checked] = {}
    for message in messages:
        for part in message.parts:
            if isinstance(part, ImageUrl) and part.url not in checked:
                checked[part.url] = await asyncio.to_thread(_check, part.url)
    for image in checked.values():
        await _store(image, redis)
    return tuple(_message(draft, checked) for draft in messages)


def _message(draft: Draft, checked: dict[str, _Checked]) -> Message:
    if all(isinstance(part, str) for part in draft.parts):
        return Message(role=draft.role, content="".join(str(part) for part in draft.parts))
    parts: list[Part] = [
        checked[part.url].part if isinstance(part, ImageUrl) else TextPart(text=part) for part in draft.parts
    ]
    return Message(role=draft.role, content=tuple(parts))


async def _store(image: _Checked, redis: Redis) -> None:
    name = keys.image(image.part.sha256)
    if not await redis.expire(name, keys.IMAGE_LIFETIME_S):
        await redis.set(name, image.data, ex=keys.IMAGE_LIFETIME_S)


def _check(url: str) -> _Checked:
    match = _PREFIX.match(url)
    if match is None:
        raise _refused("An image must be a data: URL of PNG, JPEG, WebP or GIF in base64.")
    if (len(url) - match.end()) * 3 // 4 > MAX_BYTES + 2:
        raise _refused("An image must be under 20 MB.")
    try:
        data = base64.b64decode(url[match.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise _refused("An image is not valid base64.") from None
    if len(data) >= MAX_BYTES:
        raise _refused("An image must be under 20 MB.")
    width, height = _size(data, match[1].upper())
    return _Checked(ImagePart(sha256=hashlib.sha256(data).hexdigest(), width=width, height=height), data)


def _size(data: bytes, kind: str) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            width, height = image.size
            turned = "exif" in image.info and image.getexif().get(_ORIENTATION) in _ON_THEIR_SIDE
    except UnidentifiedImageError:
        raise _refused(f"An image labelled {kind} is none.") from None
    except Exception:  # Pillow's readers raise whatever they stumble over in a broken header
        raise _refused("An image could not be read.") from None
    if width * height > MAX_PIXELS:
        raise _refused("An image must have at most 40 megapixels.")
    return (height, width) if turned else (width, height)
