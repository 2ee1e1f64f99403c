"""The frame of RQ's dashboard: the header of the other pages above its own, in their colours.

The dashboard's pages are somebody else's; they are changed as they are sent.
"""

from __future__ import annotations

import re

from starlette.types import Message

from api.pages import FOLDER

_HEADER = re.compile(r'<header class="top">(.*?)</header>', re.DOTALL)
_BODY = re.compile(rb"<body[^>]*>")
_HEAD = b"""<head>
    <meta name="color-scheme" content="light dark">
    <link rel="icon" href="/static/icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/static/dashboard.css">
    <script src="/static/theme.js"></script>
    <script src="/static/dashboard.js"></script>"""


def header(address: str) -> bytes:
    """The header of the pages, where the link to ``address`` is the current one.

    A section: the dashboard has a header of its own, and a page has one banner.
    """
    page = (FOLDER / "status.html").read_text(encoding="utf-8")
    found = _HEADER.search(page)
    if found is None:
        raise ValueError("status.html has no header")
    links = found[1].replace(' aria-current="page"', "")
    links = links.replace(f'href="{address}"', f'href="{address}" aria-current="page"')
    return f'<section class="top" aria-label="MLX chat queue">{links}</section>'.encode()


class Frame:
    """Puts the frame around HTML pages; other responses stay as they are."""

    def __init__(self, address: str) -> None:
        self._header = header(address)

    def around(self, messages: list[Message]) -> list[Message]:
        """The messages of one whole response, with the frame if it is a page."""
        start = messages[0]
        headers: list[tuple[bytes, bytes]] = list(start.get("headers", ()))
        if not dict(headers).get(b"content-type", b"").startswith(b"text/html"):
            return messages
        page = b"".join(message.get("body", b"") for message in messages[1:])
        body = _BODY.search(page)
        if body is None:
            return messages
        framed = page[: body.end()] + self._header + page[body.end() :]
        framed = framed.replace(b"<head>", _HEAD, 1)
        length = (b"content-length", str(len(framed)).encode())
        others = [(name, value) for name, value in headers if name != b"content-length"]
        return [
            {**start, "headers": [*others, length]},
            {"type": "http.response.body", "body": framed, "more_body": False},
        ]
