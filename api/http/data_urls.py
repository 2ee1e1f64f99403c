"""Images taken out of a request's body before its JSON is parsed.

A parser would hold the event loop and several copies for as long as an image is large. So what
stands in a long body as the ``url`` of an image, or as its ``image_url``, is cut out, and read from
where it arrived. Knows bytes only.
"""

from __future__ import annotations

import re

_LONG = 32 << 10
_MOST_TAKEN = 64
_STARTS = (b'"data:', b'"DATA:')
_ESCAPES = ((rb"\/", b"/"), (rb"\n", b"\n"), (rb"\r", b"\r"), (rb"\t", b"\t"))
"""What encoders write with a backslash in base64 and its line breaks; nothing else there has
one."""
_KEY = re.compile(rb'"(?:image_)?url"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}$')
_PLACEHOLDER = "data:taken/"


class DataUrls:
    """The long image URLs of one request, cut out of its body. A placeholder stands for each."""

    def __init__(self) -> None:
        self._urls: list[memoryview] = []

    def add(self, url: memoryview) -> str:
        self._urls.append(url)
        return f"{_PLACEHOLDER}{len(self._urls) - 1}"

    def get(self, placeholder: str) -> memoryview | None:
        """The URL that a placeholder stands for; None for any other text, such as a URL."""
        number = placeholder.removeprefix(_PLACEHOLDER)
        if (
            number == placeholder
            or not number.isdecimal()
            or len(number) > 2
            or int(number) >= len(self._urls)
        ):
            return None
        return self._urls[int(number)]

    def all(self) -> list[memoryview]:
        """Every URL, in the order of the body."""
        return list(self._urls)

    def clear(self) -> None:
        self._urls.clear()


def take_out(body: bytearray, urls: DataUrls) -> list[memoryview | bytes]:
    """The body in pieces, its long image URLs replaced by placeholders in ``urls``.

    A view of the body is kept for each. Only a string that follows such a key is cut out; any
    other, such as a message that begins like one, is a text. A quote after a backslash is inside a
    string, and no other quote follows a backslash.
    """
    view, done, at = memoryview(body), 0, 0
    pieces: list[memoryview | bytes] = []
    starts = {start: body.find(start) for start in _STARTS}
    for _ in range(_MOST_TAKEN):
        starts = {
            start: body.find(start, at) if -1 < index < at else index
            for start, index in starts.items()
        }
        at = min((index for index in starts.values() if index >= 0), default=-1)
        end = body.find(b'"', at + 1) if at >= 0 else -1
        if end < 0:
            break
        url = view[at + 1 : end]
        if len(url) >= _LONG and _KEY.search(bytes(view[max(0, at - 32) : at])):
            if body.find(b"\\", at, end) >= 0:
                url = memoryview(_unescaped(bytes(url)))
            pieces += [view[done : at + 1], urls.add(url).encode("ascii")]
            done = end
        at = end
    return [*pieces, view[done:]]


def _unescaped(url: bytes) -> bytes:
    for written, meant in _ESCAPES:
        url = url.replace(written, meant)
    return url
