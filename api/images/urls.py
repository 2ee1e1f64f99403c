"""Parses the URLs of images: ``data:`` URLs, in base64. Decodes nothing."""

from __future__ import annotations

import re

from api.errors import ApiError
from api.http.data_urls import DataUrls

TOO_LARGE = 20_000_000
"""An image must be under this, bytes."""
_KINDS = ("", "image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif")
"""Types that may be declared. The real type is recognised by an image's first bytes."""
_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*?)(;base64)?,", re.IGNORECASE)
_START = 512
"""Characters in which the payload must have begun: some clients write a file's name before it."""
_WHITE = (b"\n", b"\r", b" ", b"\t")


def refused(sentence: str) -> ApiError:
    return ApiError("invalid_image", sentence)


def payload(url: str, urls: DataUrls) -> memoryview:
    """The base64 of a URL, its length judged before it is decoded. Raises ApiError."""
    view = urls.get(url)
    start = url[:_START] if view is None else str(view[:_START], "ascii", "replace")
    match = _URL.match(start)
    if match is None or match[1].strip().lower() not in _KINDS or match[3] is None:
        raise refused(_why_no_image(start, match))
    if view is not None:
        encoded = view[match.end() :]
    elif (taken := urls.get(url[match.end() :])) is not None:
        encoded = taken  # Sent without a URL around it.
    else:
        try:
            encoded = memoryview(url.encode("ascii"))[match.end() :]
        except UnicodeEncodeError:
            raise refused("An image is not valid base64.") from None
    if _decoded_length(encoded) >= TOO_LARGE:
        raise refused("An image must be under 20 MB.")
    return encoded


def _decoded_length(encoded: memoryview) -> int:
    length = len(encoded)
    if TOO_LARGE * 4 // 3 <= length < TOO_LARGE * 3 // 2:
        # Near the limit it matters how the lines were broken.
        length -= sum(bytes(encoded).count(white) for white in _WHITE)
    return length // 4 * 3 - bytes(encoded[-8:]).count(b"=")  # a line may end after them


def _why_no_image(start: str, match: re.Match[str] | None) -> str:
    if start[:5].lower() != "data:":
        return "An image must be a data: URL; no file is read."
    declared = start[5:].partition(",")[0].partition(";")[0] if match is None else match[1]
    if declared.strip().lower() not in _KINDS:
        return (
            "An image's data: URL must be of type image/png, image/jpeg, image/webp or image/gif."
        )
    return "An image's data: URL must be in base64."
