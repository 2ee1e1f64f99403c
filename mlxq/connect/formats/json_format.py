"""JSON, also with comments and trailing commas, as editors write it.

A small parser of our own: the standard one has no positions, and an edit needs them so that
comments, order and spacing stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mlxq.connect.formats.merge import CannotMerge, place_of

_BLANK = " \t\r\n\ufeff"
_DECODER = json.JSONDecoder()
Edit = tuple[int, int, str]


@dataclass
class _Node:
    """A value, and where it stands: from ``start`` to ``end``; with its key from ``begin``."""

    begin: int
    start: int
    end: int = 0
    value: Any = None
    members: dict[str, _Node] | None = None
    items: list[_Node] | None = None
    tail: int = 0
    """Where the last thing before the closing bracket ends, a comment too."""
    has_comma: bool = False
    """Whether a comma stands behind the last child."""
    children: list[_Node] = field(default_factory=list)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def document(self) -> _Node:
        self._skip()
        root = self._value(self._place)
        self._skip()
        if self._place != len(self._text):
            raise self._unreadable()
        return root

    def _unreadable(self) -> CannotMerge:
        line = self._text.count("\n", 0, self._place) + 1
        return CannotMerge(f"it is not valid JSON in line {line}")

    def _skip(self) -> int:
        """Go past blanks and comments; where the last comment ended, or where this began."""
        last = self._place
        while True:
            while self._at(*_BLANK):
                self._place += 1
            if self._at("//"):
                end = self._text.find("\n", self._place)
                self._place = len(self._text) if end < 0 else end
            elif self._at("/*"):
                end = self._text.find("*/", self._place + 2)
                if end < 0:
                    raise self._unreadable()
                self._place = end + 2
            else:
                return last
            last = self._place

    def _at(self, *texts: str) -> bool:
        return self._text.startswith(texts, self._place)

    def _take(self, text: str) -> None:
        if not self._at(text):
            raise self._unreadable()
        self._place += len(text)

    def _value(self, begin: int) -> _Node:
        node = _Node(begin, self._place)
        if self._at("{", "["):
            self._container(node)
        else:
            node.value = self._scalar()
        node.end = self._place
        return node

    def _scalar(self) -> Any:
        try:
            value, self._place = _DECODER.raw_decode(self._text, self._place)
        except ValueError:
            raise self._unreadable() from None
        return value

    def _container(self, node: _Node) -> None:
        is_object = self._at("{")
        closing = "}" if is_object else "]"
        if is_object:
            node.members, node.value = {}, {}
        else:
            node.items, node.value = [], []
        self._place += 1
        node.tail = self._skip()
        while not self._at(closing):
            if node.children and not node.has_comma:
                raise self._unreadable()
            self._child(node)
            node.tail = self._skip()
            node.has_comma = self._at(",")
            if node.has_comma:
                self._place += 1
                node.tail = self._skip()
        self._place += 1

    def _child(self, node: _Node) -> None:
        begin = self._place
        if node.items is not None:
            child = self._value(begin)
            node.items.append(child)
            node.value.append(child.value)
        else:
            key = self._key(node)
            child = self._value(begin)
            assert node.members is not None
            node.members[key] = child
            node.value[key] = child.value
        node.children.append(child)

    def _key(self, node: _Node) -> str:
        if not self._at('"'):
            raise self._unreadable()
        key = str(self._scalar())
        if key in node.value:
            raise CannotMerge(f"it has {key!r} twice")
        self._skip()
        self._take(":")
        self._skip()
        return key


def parse(text: str) -> Any:
    """The value; an empty text is an empty object. Raises CannotMerge."""
    return _parsed(text).value if text.strip(_BLANK) else {}


def _parsed(text: str) -> _Node:
    try:
        return _Parser(text).document()
    except RecursionError:
        raise CannotMerge("it is nested too deeply") from None


def render(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"


def edit(text: str, values: dict[str, Any]) -> str:
    """The text with the values merged into it. Raises CannotMerge."""
    if not text.strip(_BLANK):
        return render(values)
    root = _parsed(text)
    editor = _Editor(text, root)
    for start, end, new in sorted(editor.changes(root, values, 0), reverse=True):
        text = text[:start] + new + text[end:]
    return text


class _Editor:
    def __init__(self, text: str, root: _Node) -> None:
        self._text = text
        self._unit = self._indent_before(root) or "  "

    def _indent_before(self, node: _Node) -> str | None:
        """What stands before a container's first child, if that begins its own line."""
        if not node.children:
            return None
        first = node.children[0].begin
        line = self._text.rfind("\n", node.start, first) + 1
        before = self._text[line:first]
        return before if line and not before.strip() else None

    def changes(self, node: _Node, new: Any, depth: int) -> Iterator[Edit]:
        if isinstance(new, dict) and node.members is not None:
            missing = {key: value for key, value in new.items() if key not in node.members}
            for key in new.keys() - missing.keys():
                yield from self.changes(node.members[key], new[key], depth + 1)
            lines = [f"{_dumped(key)}: {self._block(v, node, depth)}" for key, v in missing.items()]
            yield from self._insertion(node, lines, depth)
        elif isinstance(new, list) and node.items is not None:
            yield from self._items(node, new, depth)
        elif node.value != new or type(node.value) is not type(new):
            yield node.start, node.end, self._block(new, node, depth - 1)

    def _items(self, node: _Node, new: list[Any], depth: int) -> Iterator[Edit]:
        missing = []
        for item in new:
            if not isinstance(item, dict):
                continue
            place = place_of(item, node.value)
            if place is None:
                missing.append(self._block(item, node, depth))
            else:
                yield from self.changes(node.children[place], item, depth + 1)
        yield from self._insertion(node, missing, depth)

    def _inner(self, node: _Node, depth: int) -> str:
        found = self._indent_before(node)
        return self._unit * (depth + 1) if found is None else found

    def _block(self, value: Any, node: _Node, depth: int) -> str:
        """A value as text, its further lines set in like the children of the node."""
        lines = json.dumps(value, ensure_ascii=False, indent=self._unit).split("\n")
        return ("\n" + self._inner(node, depth)).join(lines)

    def _insertion(self, node: _Node, lines: list[str], depth: int) -> Iterator[Edit]:
        """New children behind the last one and behind the comments that follow it."""
        if not lines:
            return
        inner = self._inner(node, depth)
        between = self._text[node.tail : node.end - 1]
        closing = between if "\n" in between else "\n" + self._unit * depth
        new = "\n" + inner + (",\n" + inner).join(lines)
        start = node.tail
        if node.has_comma:
            new += ","
        elif node.children:
            start = node.children[-1].end
            new = "," + self._text[start : node.tail] + new
        yield start, node.end - 1, new + closing


def _dumped(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)
