"""Images taken out of a request's body before its JSON is parsed.

A parser would hold the event loop and several copies for as long as an image is large. So what stands in a long body as
the ``url`` of an image is cut out, and read from where it arrived. Knows bytes only.
"""

from __future__ import annotations

import re

_LONG = 32 << 10
_MOST_TAKEN = 64
_START = b'"data:image'
_KEY = re.compile(rb'"url"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}$')
_PLACE = "data:taken/"


class TakenOut:
    """The long image URLs of one request, cut out of its body. What stands there in place of each leads to it."""

    def __init__(self) -> None:
        self._urls: list[memoryview] = []

    def add(self, url: memoryview) -> str:
        self._urls.append(url)
        return f"{_PLACE}{len(self._urls) - 1}"

    def get(self, place: str) -> memoryview | None:
        """The URL that a place leads to; None for one that leads nowhere, such as a URL."""
        number = place.removeprefix(_PLACE)
        if number == place or not number.isdecimal() or len(number) > 2 or int(number) >= len(self._urls):
            return None
        return self._urls[int(number)]

    def all(self) -> list[memoryview]:
        """Every URL, in the order of the body."""
        return list(self._urls)

    def clear(self) -> None:
        self._urls.clear()


def take_out(body: bytearray, taken: TakenOut) -> list[memoryview | bytes]:
    """The body in pieces, its long image URLs replaced by places in ``taken``. A view of the body stays with each.

    Only a string that follows the key "url" is cut out; any other, such as a message that begins like one, is a text.
    A quote with a backslash before it is inside a string, and no other quote has one before it.
    """
    view, done, at = memoryview(body), 0, 0
    pieces: list[memoryview | bytes] = []
    for _ in range(_MOST_TAKEN):
        at = body.find(_START, at)
        end = body.find(b'"', at + 1) if at >= 0 else -1
        if end < 0:
            break
        url = view[at + 1 : end]
        if len(url) >= _LONG and _KEY.search(bytes(view[max(0, at - 24) : at])):
            if body.find(b"\\", at, end) >= 0:
                # Some encoders write a slash with a backslash.
                url = memoryview(bytes(url).replace(b"\\/", b"/"))
            pieces += [view[done : at + 1], taken.add(url).encode("ascii")]
            done = end
        at = end
    return [*pieces, view[done:]]
