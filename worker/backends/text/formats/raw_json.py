"""JSON as a model wrote it: values in a growing text, and the calls in a whole one.

Models write line breaks into strings; those are escaped, so that clients can parse the text.
"""

from __future__ import annotations

import json
import re
from typing import Any

NO_ARGUMENTS = "{}"
_decoder = json.JSONDecoder(strict=False)
_IN_STRING = re.compile(r'["\\\x00-\x1f]')
_CHARACTERS = re.compile(r'(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*')
_HALF_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
_OUTSIDE = re.compile(r'[{}\[\]"]')
_DEPTH = {"{": 1, "[": 1, "}": -1, "]": -1}
_BLANK = re.compile(r"[\s,:]*")
NAMES, ARGUMENTS = ("name", "tool_name"), ("arguments", "parameters")
"""The keys of a call's name and of its arguments."""


class RawValue:
    """Walks over an object, a list or a string in a growing text, each character once."""

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self.ended = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def read(self, text: str) -> str:
        """The next characters of the value, control characters in its strings escaped."""
        written: list[str] = []
        while not self.ended and self.position < len(text):
            if self._escaped:
                self._escaped = False
                written.append(text[self.position])
                self.position += 1
                continue
            found = (_IN_STRING if self._in_string else _OUTSIDE).search(text, self.position)
            if found is None:
                written.append(text[self.position :])
                self.position = len(text)
                break
            written += (text[self.position : found.start()], self._take(found[0]))
            self.position = found.end()
        return "".join(written)

    def _take(self, character: str) -> str:
        if character == '"':
            self._in_string = not self._in_string
            self.ended = not (self._in_string or self._depth)
        elif character == "\\":
            self._escaped = True
        elif self._in_string:
            return json.dumps(character)[1:-1]
        else:
            self._depth += _DEPTH[character]
            self.ended = self._depth <= 0
        return character


class JsonInString:
    """The same of an object that is written as a string of JSON."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.ended = False
        self._decoded = ""
        self._value = RawValue()

    def read(self, text: str) -> str:
        """The next characters of the object. Raises ValueError for what is no string."""
        found = _CHARACTERS.match(text, self.position)
        assert found is not None, "it matches nothing, too"
        end = found.end()
        self.ended = text[end : end + 1] == '"'
        if not self.ended and (cut := _HALF_PAIR.search(found[0])) is not None:
            end = self.position + cut.start()
        self._decoded += json.loads(f'"{text[self.position : end]}"', strict=False)
        if not self._value.position:
            self._decoded = self._decoded.lstrip()
        self.position = end + self.ended
        written = self._value.read(self._decoded)
        return NO_ARGUMENTS if self.ended and not self._decoded else written


def strict(raw: str) -> str:
    """An object as it was written, control characters in its strings escaped."""
    return RawValue().read(raw.strip())


def object_at(text: str, position: int) -> tuple[str, int]:
    """The object at a position, as it was written, and where it ends. Raises ValueError."""
    value, end = _decoder.raw_decode(text, position)
    if not isinstance(value, dict):
        raise ValueError("arguments are an object")
    return strict(text[position:end]), end


def read_json(text: str) -> Any:
    """The calls in a value: one, or a list of them."""
    value = json.loads(text, strict=False)
    start = len(text) - len(text.lstrip())
    if not isinstance(value, list):
        return [_call(text, value, start)]
    return [_call(text, one, at) for one, at in zip(value, _items(text, start), strict=True)]


def _call(text: str, value: dict[str, Any], start: int) -> dict[str, Any]:
    members = _members(text, start)
    if isinstance(value.get("function"), dict):
        value, members = value["function"], _members(text, members["function"][0])
    name = next((value[key] for key in reversed(NAMES) if key in value), None)
    key = "parameters" if "parameters" in value else "arguments"
    arguments: Any = value.get(key) or {}
    if isinstance(arguments, dict) and key in members and text[members[key][0]] == "{":
        arguments = strict(text[slice(*members[key])])
    elif isinstance(arguments, str):
        json.loads(arguments, strict=False)
        arguments = strict(arguments)
    return {"name": name, "arguments": arguments}


def _members(text: str, start: int) -> dict[str, tuple[int, int]]:
    """Where the values of a valid object's keys begin and end."""
    found: dict[str, tuple[int, int]] = {}
    position = _after_blanks(text, start + 1)
    while text[position] != "}":
        key, position = _decoder.raw_decode(text, position)
        start = _after_blanks(text, position)
        _, position = _decoder.raw_decode(text, start)
        found[key] = (start, position)
        position = _after_blanks(text, position)
    return found


def _items(text: str, start: int) -> list[int]:
    """Where the items of a valid list begin."""
    found: list[int] = []
    position = _after_blanks(text, start + 1)
    while text[position] != "]":
        found.append(position)
        _, position = _decoder.raw_decode(text, position)
        position = _after_blanks(text, position)
    return found


def _after_blanks(text: str, position: int) -> int:
    blanks = _BLANK.match(text, position)
    assert blanks is not None, "it matches anywhere"
    return blanks.end()
