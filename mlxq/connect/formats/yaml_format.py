"""YAML: a mapping of plain values, and lists of such mappings.

PyYAML says where each value stands; its own writer would drop comments, so the text is edited.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from mlxq.connect.formats.merge import CannotMerge, place_of

_PLAIN = re.compile(r"[A-Za-z][\w./@-]*(?::[\w./@-]+)*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
Edit = tuple[int, int, str]


def parse(text: str) -> Any:
    """The document; an empty one is an empty mapping. Raises CannotMerge."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise CannotMerge(f"it is not valid YAML{where}") from None
    return {} if value is None else value


def render(values: dict[str, Any]) -> str:
    return "\n".join(_lines(values)) + "\n"


def _lines(values: dict[str, Any]) -> list[str]:
    """A mapping; its lists of mappings are set in by two."""
    lines: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {line}" for line in _lines(value))]
        elif isinstance(value, list) and isinstance(value[0], dict):
            lines.append(f"{key}:")
            lines += [f"  {line}" for item in value for line in _item(item)]
        else:
            lines.append(f"{key}: {_text(value)}")
    return lines


def _item(item: dict[str, Any]) -> list[str]:
    first, *rest = _lines(item)
    return [f"- {first}", *(f"  {line}" for line in rest)]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def edit(text: str, values: dict[str, Any]) -> str:
    """The text with the values merged into it. Raises CannotMerge."""
    root = yaml.compose(text)
    if root is None:
        return text + ("\n" if text and not text.endswith("\n") else "") + render(values)
    # Of insertions at one place the one that is set in least comes last: a blank sorts first.
    for start, end, new in sorted(_changes(text, root, values), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _changes(text: str, node: Any, values: dict[str, Any]) -> Iterator[Edit]:
    """What changes in a block mapping."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style or not node.value:
        raise CannotMerge("it is not a mapping with a key a line")
    members = _members(node)
    missing = {key: value for key, value in values.items() if key not in members}
    for key in values.keys() - missing.keys():
        yield from _change(text, members[key], values[key])
    if missing:
        yield _behind(text, node, _lines(missing), node.start_mark.column)


def _members(node: Any) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in node.value:
        if key.value in members:
            raise CannotMerge(f"it has {key.value!r} twice")
        members[str(key.value)] = value
    return members


def _change(text: str, node: Any, value: Any) -> Iterator[Edit]:
    if isinstance(value, list):
        if isinstance(value[0], dict):
            yield from _items(text, node, value)
    elif isinstance(value, dict):
        yield from _changes(text, node, value)
    elif not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">"):
        raise CannotMerge("a value is not a plain one")
    elif yaml.safe_load(text[_start(node) : _end(node)]) != value:
        # The value of a key without one stands right behind the colon.
        blank = "" if node.value or node.style else " "
        yield _start(node), _end(node), blank + _text(value)


def _items(text: str, node: Any, items: list[dict[str, Any]]) -> Iterator[Edit]:
    """What changes in a list of mappings."""
    is_list = isinstance(node, yaml.SequenceNode)
    if is_list and not node.value:  # []
        lines = [f"  {line}" for item in items for line in _item(item)]
        yield _start(node), _end(node), "\n" + "\n".join(lines)
        return
    if not is_list or node.flow_style:
        raise CannotMerge("a list is not one with an item a line")
    # The blanks before the first line are part of a list's form.
    there = parse(" " * node.start_mark.column + text[_start(node) : _end(node)])
    missing: list[str] = []
    for item in items:
        place = place_of(item, there)
        if place is None:
            missing += _item(item)
        else:
            yield from _changes(text, node.value[place], item)
    if missing:
        yield _behind(text, node, missing, node.start_mark.column)


def _behind(text: str, node: Any, lines: list[str], column: int) -> Edit:
    """Lines behind the last line of a node that has content."""
    end = text.find("\n", _end(_last(node)))
    at = len(text) if end < 0 else end
    return at, at, "".join(f"\n{' ' * column}{line}" for line in lines)


def _last(node: Any) -> Any:
    """The last value within a node that stands on a line of its own."""
    while not isinstance(node, yaml.ScalarNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        raise CannotMerge("it ends with a text of several lines")
    return node


def _start(node: Any) -> int:
    return int(node.start_mark.index)


def _end(node: Any) -> int:
    return int(node.end_mark.index)
