"""TOML: keys of the root and tables of their own, a value a line.

The standard library reads TOML and doesn't write it. What is written here are a few strings and
numbers, so lines are replaced or added; a file that spells them in another way is refused by the
comparison behind the edit.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from mlxq.connect.formats.merge import CannotMerge

_HEADER = re.compile(r"\s*\[")
_VALUE = re.compile(
    r"""(?P<before>\s*=\s*)(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s#"'\[{]+)(?P<after>\s*(?:\#.*)?)"""
)
Lines = list[str]


def parse(text: str) -> Any:
    """The document. Raises CannotMerge."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CannotMerge(f"it is not valid TOML: {error}") from None
    except RecursionError:
        raise CannotMerge("it is nested too deeply") from None


def render(values: dict[str, Any]) -> str:
    return edit("", values)


def edit(text: str, values: dict[str, Any]) -> str:
    """The text with the values merged into it; what it can't place, the caller's check finds."""
    lines = text.split("\n")
    for path, keys in _tables(values):
        _set_keys(lines, path, keys)
    return "\n".join(lines).strip("\n") + "\n" if not text.strip() else "\n".join(lines)


def _tables(values: dict[str, Any], path: tuple[str, ...] = ()) -> list[Any]:
    """Each table with values of its own: its path, and those values."""
    own = {key: value for key, value in values.items() if not isinstance(value, dict)}
    found: list[Any] = [(path, own)] if own else []
    for key, value in values.items():
        if isinstance(value, dict):
            found += _tables(value, (*path, key))
    return found


def _set_keys(lines: Lines, path: tuple[str, ...], keys: dict[str, Any]) -> None:
    begin, end = _range(lines, path)
    added = []
    for key, value in keys.items():
        at = next((n for n in range(begin, end) if _key_of(lines[n]) == key), None)
        if at is None:
            added.append(f"{key} = {_text(value)}")
        else:
            lines[at] = _replaced(lines[at], key, value)
    while end > begin and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    if not path and added and end == begin and any(lines):
        added.append("")
    lines[end:end] = added


def _range(lines: Lines, path: tuple[str, ...]) -> tuple[int, int]:
    """The lines of a table behind its header, which is added when there is none."""
    headers = [n for n, line in enumerate(lines) if _HEADER.match(line)]
    if not path:
        return 0, headers[0] if headers else len(lines)
    wanted = "[" + ".".join(path) + "]"
    begin = next((n for n in headers if lines[n].split("#")[0].strip() == wanted), None)
    if begin is None:
        while lines and not lines[-1].strip():
            lines.pop()
        lines += ["", wanted, ""]
        return len(lines) - 1, len(lines) - 1
    following = [n for n in headers if n > begin]
    return begin + 1, following[0] if following else len(lines)


def _key_of(line: str) -> str:
    return line.partition("=")[0].strip().strip("\"'")


def _replaced(line: str, key: str, value: Any) -> str:
    name, equals, rest = line.partition("=")
    found = _VALUE.fullmatch(equals + rest)
    if found is None:
        raise CannotMerge(f"the value of {key!r} is not a plain one")
    return name + found["before"] + _text(value) + found["after"]


def _text(value: Any) -> str:
    """A string or a number; JSON's strings are TOML's, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
