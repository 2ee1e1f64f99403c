"""Tells calls whose arguments are tags while they are written: texts character by character, other
values once they are complete, as the format's own parser reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from worker.backends.text.formats.syntax import Item, Parse, check_head

_PROBES = ("12", "1.5", "true", "[1]", "{}", '"x"', "x")
"""Values that are texts only where everything is one."""
_NULLS = ("null", "none", "nil")
_WORDS = ("true", "false", "null", "NaN", "Infinity")
_BEGINS_JSON = '{["-0123456789'
_SECTION = "<![CDATA["
_SECTION_END = re.compile(r"\](?:\](?:>\s*)?)?\Z")
BLANKS, LINE_BREAK = "blanks", "a line break"


@dataclass(frozen=True, slots=True)
class Tags:
    """How calls are written: the patterns of a call's head and of a parameter's, with a group
    ``name`` each, and what closes either.

    ``end`` is empty if a text has one call: then the parser says where it ends. ``tail`` is what
    makes a call complete for the parser. ``trims``: what around a text is no part of it, blanks or
    one line break on either side. ``guesses``: a value that is no JSON is a text. ``sections``:
    values may stand in CDATA. ``unless`` is the pattern of what is told at the end alone.
    """

    head: str
    parameter: str
    close: str
    end: str = ""
    tail: str = ""
    trims: str = ""
    guesses: bool = False
    sections: bool = False
    unless: str = "(?!)"


def escaped(text: str) -> str:
    """Characters as they stand in a string of JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


class TagReader:
    """Reads the calls of a growing text, each character of an argument once."""

    def __init__(self, tags: Tags, parse: Parse) -> None:
        self._tags = tags
        self._parse = parse
        others = f"|(?P<unless>{tags.unless})|(?P<end>{tags.end or '(?!)'})"
        self._head = re.compile(tags.head, re.DOTALL)
        self._next = re.compile(f"(?P<parameter>{tags.parameter}){others}", re.DOTALL)
        self._position = 0
        self._written_head: str | None = None
        """Of the present call."""
        self._keys: set[str] = set()
        self._value: _Value | None = None

    def read(self, text: str) -> list[Item]:
        items: list[Item] = []
        while self._step(text, items):
            pass
        return items

    def _step(self, text: str, items: list[Item]) -> bool:
        """Go on by a part; whether there was one."""
        if self._value is not None:
            return self._go_on(self._value, text, items)
        if self._written_head is None:
            return self._begin(text, items)
        found = self._next.search(text, self._position)
        if found is None:
            check_head(text, self._position)
            return False
        self._position = found.end()
        if found["unless"] is not None:
            raise ValueError("arguments in a form that is read at its end")
        if found["parameter"] is None:
            items.append(("", "}" if self._keys else "{}"))
            self._written_head = None
            return True
        key = found["name"].strip()
        if key in self._keys:
            raise ValueError("a parameter that came before")
        items.append(("", f"{', ' if self._keys else '{'}{json.dumps(key, ensure_ascii=False)}: "))
        self._keys.add(key)
        self._value = _Value(self._tags, found.end(), self._converter(found["parameter"], key))
        return True

    def _begin(self, text: str, items: list[Item]) -> bool:
        found = self._head.search(text, self._position)
        if found is None:
            check_head(text, self._position)
            return False
        self._position, self._written_head = found.end(), found[0]
        self._keys = set()
        items.append((found["name"].strip(), ""))
        return True

    def _go_on(self, value: _Value, text: str, items: list[Item]) -> bool:
        if written := value.read(text):
            items.append(("", written))
        if value.end is None:
            return False
        self._position, self._value = value.end, None
        return True

    def _converter(self, head: str, key: str) -> Callable[[str], Any]:
        """What reads a value as it would be read in the whole call."""
        before = f"{self._written_head}{head}"
        after = f"{self._tags.close}{self._tags.tail}"

        def convert(value: str) -> Any:
            call = self._parse(before + value + after)
            if isinstance(call, list):
                (call,) = call
            return call["arguments"][key]

        return convert


class _Value:
    """One argument, as far as it has come."""

    def __init__(self, tags: Tags, start: int, convert: Callable[[str], Any]) -> None:
        self.end: int | None = None
        """Where what closes it ends."""
        self._tags = tags
        self._start = start
        self._told: int | None = None
        """How far the text has been told, once it is certain that it is one."""
        self._searched = start
        self._convert = convert
        self._is_text = all(_stays(convert, probe) for probe in _PROBES)
        self._nulls = tuple(word for word in _NULLS if not _stays(convert, word))
        self._guesses = tags.guesses
        """Whether a value that isn't always a text may turn out to be one."""
        self._in_section = False

    def read(self, text: str) -> str:
        """The next characters of its JSON."""
        close = self._tags.close
        at = text.find(close, self._searched)
        if at >= 0:
            self.end = at + len(close)
            if self._told is None:
                value = self._convert(text[self._start : at])
                return json.dumps(value, ensure_ascii=False)
            return escaped(self._trimmed(text[self._told : at])) + '"'
        self._searched = max(self._start, len(text) - len(close) + 1)
        quote = ""
        if self._told is None:
            self._told = self._beginning(text)
            quote = '"'
        if self._told is None:
            return ""
        start, self._told = self._told, len(text) - self._held(text[self._told :])
        return quote + escaped(text[start : self._told])

    def _beginning(self, text: str) -> int | None:
        """Where the text begins, once it is certain that the value is one."""
        if not (self._is_text or self._guesses):
            return None
        value = text[self._start :]
        if self._tags.trims == BLANKS:
            value = value.lstrip()
        elif self._tags.trims == LINE_BREAK:
            value = value.removeprefix("\n")
        if self._tags.sections and _SECTION.startswith(value[: len(_SECTION)]):
            self._in_section = value.startswith(_SECTION)
            value = value[len(_SECTION) :]
        known = value[: len(value) - self._held(value)]
        return len(text) - len(value) if known and self._is_certain(known) else None

    def _is_certain(self, known: str) -> bool:
        if self._is_text:
            return not any(word.startswith(known.lower()) for word in self._nulls)
        self._guesses = known[0] not in _BEGINS_JSON
        return self._guesses and not any(word.startswith(known) for word in _WORDS)

    def _held(self, untold: str) -> int:
        """How many of the last characters may be no part of the value."""
        close = self._tags.close
        longest = min(len(close) - 1, len(untold))
        cut = next((n for n in range(longest, 0, -1) if untold.endswith(close[:n])), 0)
        kept = untold[: len(untold) - cut]
        if self._in_section:
            return len(untold) - len(_SECTION_END.sub("", kept))
        return len(untold) - len(self._trimmed(kept))

    def _trimmed(self, rest: str) -> str:
        """The end of a text without what is no part of it."""
        if self._in_section:
            return rest.rstrip().removesuffix("]]>")
        if self._tags.trims == BLANKS:
            return rest.rstrip()
        return rest.removesuffix("\n") if self._tags.trims == LINE_BREAK else rest


def _stays(convert: Callable[[str], Any], value: str) -> bool:
    """Whether a value is read as the text that it is."""
    try:
        return bool(convert(value) == value)
    except Exception:  # The library's parsers raise errors of any type.
        return False
