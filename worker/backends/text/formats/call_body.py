"""Finds where the text of a tool call ends while it comes in pieces of any length.

A mark inside a string argument is no mark, so the text is scanned as far as strings go; each
character once.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from worker.backends.text.formats.syntax import PYTHON_STRINGS, CallSyntax, Region

_BRACKETS = {"{": 1, "[": 1, "}": -1, "]": -1}


class End(NamedTuple):
    """The end of a call: its text, what came behind it, and the state there."""

    content: str
    rest: str
    state: str | None


class CallBody(Protocol):
    """The text of a call, as far as it has come."""

    text: str

    def add(self, piece: str) -> End | None:
        """Take the next piece; returns the end once it has come."""


def body_of(syntax: CallSyntax) -> CallBody:
    """The body of a call whose mark has just come."""
    return _ValueBody(syntax) if syntax.is_value else _MarkedBody(syntax)


class Scanner:
    """Walks over a growing text from one match to the next, skipping regions."""

    def __init__(self, wanted: str, regions: tuple[Region, ...]) -> None:
        """``wanted`` is a pattern that doesn't match across the end of a text."""
        opens = "|".join(re.escape(region.opens) for region in regions)
        self._outside = re.compile(f"(?P<wanted>{wanted})" + (f"|{opens}" if opens else ""))
        self._regions = {region.opens: region for region in regions}
        self._closes = {region: _closing(region) for region in regions}
        self._inside: Region | None = None
        self.position = 0

    def next(self, text: str, longest: int) -> re.Match[str] | None:
        """The next match outside of regions. ``longest`` is the length of the longest one: what
        could be the beginning of a match at the end of the text is read again with the next
        piece."""
        while True:
            if self._inside is not None and not self._leave(text):
                return None
            match = self._outside.search(text, self.position)
            if match is None:
                self.position = max(self.position, len(text) - longest + 1)
                return None
            self.position = match.end()
            if match["wanted"] is not None:
                return match
            self._inside = self._regions[match[0]]

    def _leave(self, text: str) -> bool:
        """Go to the end of the region; False if it hasn't come."""
        assert self._inside is not None, "asked inside a region alone"
        closes = self._closes[self._inside]
        while (match := closes.search(text, self.position)) is not None:
            self.position = match.end()
            if match["escaped"] is None:
                self._inside = None
                return True
        # An escape, or a longer mark, may go on in the next piece.
        held = len(self._inside.closes) - 1 or text.endswith("\\", self.position)
        self.position = max(self.position, len(text) - held)
        return False


def _closing(region: Region) -> re.Pattern[str]:
    escaped = r"(?P<escaped>\\.)" if region.escapes else "(?P<escaped>(?!))"
    return re.compile(f"{escaped}|{re.escape(region.closes)}", re.DOTALL)


class _MarkedBody:
    """A call that ends at a mark, or with the answer."""

    def __init__(self, syntax: CallSyntax) -> None:
        self.text = ""
        self._ends = dict(syntax.ends)
        marks = sorted(self._ends, key=len, reverse=True)
        self._scanner = Scanner("|".join(map(re.escape, marks)) or "(?!)", syntax.regions)
        self._longest = max(
            map(len, [*marks, *(region.opens for region in syntax.regions), "."]), default=1
        )

    def add(self, piece: str) -> End | None:
        self.text += piece
        match = self._scanner.next(self.text, self._longest)
        if match is None:
            return None
        return End(self.text[: match.start()], self.text[match.end() :], self._ends[match[0]])


class _ValueBody:
    """A call that ends with its JSON value (or Python list), behind a name if it is ``named``."""

    def __init__(self, syntax: CallSyntax) -> None:
        self.text = syntax.kept
        self._syntax = syntax
        self._scanner = Scanner(r"[{}\[\]]", PYTHON_STRINGS)
        self._depth = 0
        self._begun = False

    def add(self, piece: str) -> End | None:
        self.text += piece
        if not self._begun:
            self._begun = self._begin()
        if not self._begun:
            # What is no value is no call, and need not be held back.
            is_other = self.text.strip() and not self._syntax.named
            return End(self.text, "", self._syntax.then) if is_other else None
        while (match := self._scanner.next(self.text, 1)) is not None:
            self._depth += _BRACKETS[match[0]]
            if self._depth <= 0:
                content, rest = self.text[: match.end()], self.text[match.end() :]
                return End(content, rest, self._syntax.then)
        return None

    def _begin(self) -> bool:
        """Whether the value has begun; the brackets of a name before it don't count."""
        stripped = self.text.lstrip()
        if stripped[:1] in ("{", "["):
            self._scanner.position = len(self.text) - len(stripped)
            return True
        self._scanner.position = max(0, self.text.find("{"))
        return self._syntax.named and "{" in self.text
