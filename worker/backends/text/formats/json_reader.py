"""Tells calls in JSON while they are written, their arguments as the model writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection

from worker.backends.text.formats.raw_json import (
    ARGUMENTS,
    NAMES,
    NO_ARGUMENTS,
    JsonInString,
    RawValue,
)
from worker.backends.text.formats.syntax import Item, check_head

_BEFORE = re.compile(r"[\s\[,;]*\{")
_KEY = re.compile(r'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*(?=(\S))', re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR = re.compile(r"[^\s,}\]]+(?=[\s,}\]])")
_CLOSE = re.compile(r"[\s,]*\}")


class JsonReader:
    """Tells calls that are objects, or a list of them, while they are written.

    ``known``: only a name among these shows that an object is a call, and only together with
    arguments.
    """

    def __init__(self, known: Collection[str] | None = None) -> None:
        self._known = known
        self._position = 0
        self._depth = 0
        """1 in a call's object, 2 in the object of its function."""
        self._name: str | None = None
        self._named = False
        """Whether the name was told."""
        self._arguments = ""
        """What is still to be told of them."""
        self._has_arguments = False
        self._value: RawValue | JsonInString | None = None
        self._is_arguments = False
        """Whether the value is that of arguments."""

    def read(self, text: str) -> list[Item]:
        items: list[Item] = []
        while self._step(text):
            self._tell(items)
        self._tell(items)
        if self._value is None:
            check_head(text, self._position)
        return items

    def _tell(self, items: list[Item]) -> None:
        if self._name is None:
            return
        if not self._named:
            if self._known is not None and not (self._has_arguments and self._name in self._known):
                return
            self._named = True
            items.append((self._name, self._arguments))
        elif self._arguments:
            items.append(("", self._arguments))
        self._arguments = ""

    def _step(self, text: str) -> bool:
        """Go on by a part; whether there was one."""
        if self._value is not None:
            written = self._value.read(text)
            if self._is_arguments:
                self._arguments += written
            if not self._value.ended:
                return False
            self._position, self._value = self._value.position, None
            return True
        if self._depth == 0:
            return self._begin(text)
        return self._member(text) or self._close(text)

    def _begin(self, text: str) -> bool:
        if (found := _BEFORE.match(text, self._position)) is None:
            return False
        self._position, self._depth = found.end(), 1
        self._name, self._named, self._has_arguments = None, False, False
        return True

    def _close(self, text: str) -> bool:
        """Leave an object; the call ends with the outer one."""
        if (found := _CLOSE.match(text, self._position)) is None:
            return False
        if self._depth == 1:
            told = self._named or self._known is None or self._name in self._known
            if self._name is None or not told:
                return False  # Whatever it is, it is no call that can be told.
            if not self._has_arguments:
                self._arguments, self._has_arguments = NO_ARGUMENTS, True
        self._position = found.end()
        self._depth -= 1
        return True

    def _member(self, text: str) -> bool:
        found = _KEY.match(text, self._position)
        if found is None:
            return False
        key, opens = json.loads(found[1], strict=False), found[2]
        if key == "function" and opens == "{" and self._depth == 1:
            self._position, self._depth = found.end() + 1, 2
            return True
        self._is_arguments = key in ARGUMENTS and not self._has_arguments
        is_name = opens == '"' and key in NAMES and self._name is None
        if self._is_arguments and opens == '"':
            self._position, self._value = found.end() + 1, JsonInString(found.end() + 1)
            self._has_arguments = True
            return True
        if opens in '{["' and not is_name:
            self._position, self._value = found.end(), RawValue(found.end())
            self._is_arguments &= opens == "{"
            self._has_arguments |= self._is_arguments
            return True
        value = (_STRING if opens == '"' else _SCALAR).match(text, found.end())
        if value is None:
            return False
        self._position = value.end()
        if is_name:
            self._name = json.loads(value[0], strict=False) or None
        return True


class HeadedReader:
    """Tells calls whose arguments follow a head that has their name.

    ``head`` matches up to the brace of the arguments; ``name_of`` finds the name in it.
    """

    def __init__(self, head: re.Pattern[str], name_of: Callable[[re.Match[str]], str]) -> None:
        self._head = head
        self._name_of = name_of
        self._position = 0
        self._value: RawValue | None = None

    def read(self, text: str) -> list[Item]:
        items: list[Item] = []
        while True:
            name = ""
            if self._value is None:
                if (found := self._head.match(text, self._position)) is None:
                    check_head(text, self._position)
                    return items
                name, self._value = self._name_of(found), RawValue(found.end())
                if not name:
                    return items
            if name or self._value.position < len(text):
                items.append((name, self._value.read(text)))
            if not self._value.ended:
                return items
            self._position, self._value = self._value.position, None
