"""Tells calls that are written as ``name(key=value, …)`` or ``name{key:value, …}``: each argument
once it is complete, as the format's own parser reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from worker.backends.text.formats.call_body import Scanner
from worker.backends.text.formats.syntax import Item, Parse, Region, check_head

_END = re.compile(r"\s*[)}]")
_DEPTH = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


@dataclass(frozen=True, slots=True)
class Notation:
    """How calls are written: the pattern of a call's head and of a key with the sign behind it,
    with a group ``name`` each; strings; and what is around a name and its arguments for the
    parser."""

    head: str
    key: str
    strings: tuple[Region, ...]
    before: str
    opens: str
    closes: str


class ArgumentReader:
    """Reads the calls of a growing text. ``known``: only a name among these shows a call."""

    def __init__(
        self, notation: Notation, parse: Parse, known: Collection[str] | None = None
    ) -> None:
        self._notation = notation
        self._parse = parse
        self._known = known
        self._head = re.compile(notation.head)
        self._key = re.compile(notation.key)
        self._position = 0
        self._name: str | None = None
        self._keys: set[str] = set()
        self._written: tuple[str, int] | None = None
        """The key of the present argument and where it begins."""
        self._scanner = Scanner(r"[()\[\]{},]", notation.strings)
        self._depth = 0

    def read(self, text: str) -> list[Item]:
        items: list[Item] = []
        while self._step(text, items):
            pass
        return items

    def _step(self, text: str, items: list[Item]) -> bool:
        """Go on by a part; whether there was one."""
        if self._name is None:
            return self._begin(text, items)
        if self._written is None and not self._begin_argument(text):
            return self._end(text, items)
        longest = max(len(region.opens) for region in self._notation.strings)
        while (found := self._scanner.next(text, longest)) is not None:
            self._depth += _DEPTH.get(found[0], 0)
            if self._depth < 0 or (found[0] == "," and self._depth == 0):
                self._tell(text[: found.start()], items)
                # What closes the call is looked at again.
                self._position = found.end() if found[0] == "," else found.start()
                return True
        return False

    def _begin(self, text: str, items: list[Item]) -> bool:
        found = self._head.match(text, self._position)
        if found is None:
            check_head(text, self._position)
            return False
        if self._known is not None and found["name"] not in self._known:
            raise ValueError("no tool of this name")
        self._name, self._position, self._keys = found["name"], found.end(), set()
        items.append((self._name, ""))
        return True

    def _begin_argument(self, text: str) -> bool:
        found = self._key.match(text, self._position)
        if found is None:
            return False
        self._written = found["name"], found.start("name")
        self._position = self._scanner.position = found.end()
        self._depth = 0
        return True

    def _tell(self, text: str, items: list[Item]) -> None:
        assert self._written is not None, "an argument is being read"
        (key, start), self._written = self._written, None
        if key in self._keys:
            raise ValueError("an argument that came before")
        form = self._notation
        written = f"{form.before}{self._name}{form.opens}{text[start:]}{form.closes}"
        call: Any = self._parse(written)
        if isinstance(call, list):
            (call,) = call
        before = ", " if self._keys else "{"
        value = json.dumps(call["arguments"][key], ensure_ascii=False)
        items.append(("", f"{before}{json.dumps(key, ensure_ascii=False)}: {value}"))
        self._keys.add(key)

    def _end(self, text: str, items: list[Item]) -> bool:
        found = _END.match(text, self._position)
        if found is None:
            check_head(text, self._position)
            return False
        items.append(("", "}" if self._keys else "{}"))
        self._name, self._position = None, found.end()
        return True
