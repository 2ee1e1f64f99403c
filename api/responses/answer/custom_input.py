"""The input of a custom tool, out of the arguments of the function that stands for it.

The model writes ``{"input": "…"}``; the string is read while it is being written.
"""

from __future__ import annotations

import json
import re
from typing import Any

from api.responses.tools import INPUT

_HEAD = re.compile(r'\s*\{\s*"' + INPUT + r'"\s*:\s*"')
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[^u])")
_PLAIN = re.compile(r'[^"\\]+')
_LOST = "�"


class CustomInput:
    """Arguments in pieces, as the text of their one string."""

    def __init__(self) -> None:
        self._written = ""
        self._at: int | None = None
        self._closed = False
        self._said = False

    def add(self, piece: str) -> str:
        """Take the next piece; returns what it adds to the input."""
        self._written += piece
        if self._at is None and (head := _HEAD.match(self._written)):
            self._at = head.end()
        text = "" if self._at is None or self._closed else self._read(last=False)
        self._said = self._said or bool(text)
        return text

    def rest(self) -> str:
        """What is left of the input when the arguments have ended.

        Of arguments of another form it is the string among them, or all that was written.
        """
        if self._at is not None:
            return "" if self._closed else self._read(last=True)
        try:
            read: Any = json.loads(self._written)
        except ValueError:
            return self._written
        given = read.get(INPUT) if isinstance(read, dict) else None
        return given if isinstance(given, str) else self._written

    def _read(self, *, last: bool) -> str:
        text = []
        while self._at is not None and self._at < len(self._written):
            if (plain := _PLAIN.match(self._written, self._at)) is not None:
                text.append(plain[0])
                self._at = plain.end()
            elif self._written[self._at] == '"':
                self._closed = True
                break
            elif (said := self._escaped(last=last)) is None:
                break
            else:
                text.append(said)
        return "".join(text)

    def _escaped(self, *, last: bool) -> str | None:
        """The character of the escape here; None if it isn't whole yet."""
        assert self._at is not None, "the string has begun"
        one = _ESCAPE.match(self._written, self._at)
        if one is None:
            return None
        end, text = one.end(), _unescaped(one[0])
        if "\ud800" <= text <= "\udbff":
            other = _ESCAPE.match(self._written, end)
            if other is None and not last and _may_go_on(self._written[end : end + 6]):
                return None
            low = "" if other is None else _unescaped(other[0])
            if "\udc00" <= low <= "\udfff" and other is not None:
                code = 0x10000 + ((ord(text) - 0xD800) << 10) + (ord(low) - 0xDC00)
                end, text = other.end(), chr(code)
        self._at = end
        return _LOST if "\ud800" <= text <= "\udfff" else text


def _unescaped(escape: str) -> str:
    try:
        return str(json.loads(f'"{escape}"'))
    except ValueError:
        return escape[1:]


def _may_go_on(text: str) -> bool:
    """Whether an escape of the other half may follow."""
    return text in ("", "\\") or re.fullmatch(r"\\u[0-9a-fA-F]{0,3}", text) is not None
