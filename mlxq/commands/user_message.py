"""The message of a user as the API takes it: text, and image files as ``data:`` URLs."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from mlxq.errors import WrongUse

IMAGE_LIMIT = 20_000_000
_FORMATS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
"""First bytes of a file, and the image format that they belong to."""


def image_part(path: Path) -> dict[str, Any]:
    """An image file as a content part. Raises WrongUse for what the service would refuse."""
    try:
        with path.open("rb") as file:
            data = file.read(IMAGE_LIMIT)  # Some files have no end: /dev/zero.
    except OSError as error:
        raise WrongUse(f"cannot read the image {path}: {error.strerror}") from None
    except ValueError:  # a NUL character
        raise WrongUse(f"cannot read the image {path}: that is not the name of a file") from None
    format_name = next((name for head, name in _FORMATS.items() if data.startswith(head)), None)
    if format_name is None:
        raise WrongUse(f"{path} is not a PNG, JPEG, WebP or GIF image")
    if len(data) >= IMAGE_LIMIT:
        raise WrongUse(f"{path} is too large: an image must be under 20 MB")
    url = f"data:image/{format_name};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def user_message(text: str, images: list[dict[str, Any]]) -> dict[str, Any]:
    """A user's turn; its content is plain text when there are no images."""
    return {
        "role": "user",
        "content": [{"type": "text", "text": text}, *images] if images else text,
    }
