"""Images taken out of a request's body before its JSON is parsed.

A parser would hold the event loop and several copies for as long as an image is large. So what
stands in a long body as the ``url`` of an image, or as its ``image_url``, is cut out, and read from
where it arrived; so is the ``data`` of a ``source`` of type ``base64``, as Anthropic's clients send
images. Knows bytes only.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_LONG = 32 << 10
_MOST_TAKEN = 64
_STARTS = (b'"data:', b'"DATA:')
_ESCAPES = ((rb"\/", b"/"), (rb"\n", b"\n"), (rb"\r", b"\r"), (rb"\t", b"\t"))
"""What encoders write with a backslash in base64 and its line breaks; nothing else there has
one."""
_KEY = re.compile(rb'"(?:image_)?url"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}$')
_BARE = re.compile(rb'"data"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}"(?=[A-Za-z0-9+/]{64})')
_IN_SOURCE = re.compile(rb'"source"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}\{([^{}]*)$')
_IS_BASE64 = re.compile(rb'"type"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}"base64"')
_AROUND = 256
"""Bytes before and behind a payload in which the other fields of its object stand."""
PLACEHOLDER = "data:taken/"


class DataUrls:
    """The long image URLs of one request, or their payloads, cut out of its body. A placeholder
    stands for each."""

    def __init__(self) -> None:
        self._urls: list[memoryview] = []

    def add(self, url: memoryview) -> str:
        self._urls.append(url)
        return f"{PLACEHOLDER}{len(self._urls) - 1}"

    def get(self, placeholder: str) -> memoryview | None:
        """The URL that a placeholder stands for; None for any other text, such as a URL."""
        number = placeholder.removeprefix(PLACEHOLDER)
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
    finders = [*(_text_in(body, start) for start in _STARTS), _bare_in(body)]
    places = [find(0) for find in finders]
    for _ in range(_MOST_TAKEN):
        places = [
            find(at) if -1 < place < at else place
            for find, place in zip(finders, places, strict=True)
        ]
        at = min((place for place in places if place >= 0), default=-1)
        end = body.find(b'"', at + 1) if at >= 0 else -1
        if end < 0:
            break
        url = view[at + 1 : end]
        is_image = _is_in_source if at == places[-1] else _is_url
        if len(url) >= _LONG and is_image(view, at, end):
            if body.find(b"\\", at, end) >= 0:
                url = memoryview(_unescaped(bytes(url)))
            pieces += [view[done : at + 1], urls.add(url).encode("ascii")]
            done = end
        at = end
    return [*pieces, view[done:]]


def _text_in(body: bytearray, text: bytes) -> Callable[[int], int]:
    return lambda at: body.find(text, at)


def _bare_in(body: bytearray) -> Callable[[int], int]:
    """What finds the next payload without a URL around it."""

    def find(at: int) -> int:
        found = _BARE.search(body, at)
        return -1 if found is None else found.end() - 1

    return find


def _is_url(body: memoryview, at: int, _: int) -> bool:
    return _KEY.search(bytes(body[max(0, at - 32) : at])) is not None


def _is_in_source(body: memoryview, at: int, end: int) -> bool:
    before = _IN_SOURCE.search(bytes(body[max(0, at - _AROUND) : at]))
    behind = bytes(body[end + 1 : end + _AROUND]).partition(b"}")[0]
    return before is not None and any(map(_IS_BASE64.search, (before[1], behind)))


def _unescaped(url: bytes) -> bytes:
    for written, meant in _ESCAPES:
        url = url.replace(written, meant)
    return url
