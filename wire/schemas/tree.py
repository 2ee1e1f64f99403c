"""JSON schemas as trees: which of their values are schemas, and what references point at. Pure.

Knows no keyword's meaning beyond that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

Schema = dict[str, Any]
IN_PLACE = ("allOf", "anyOf", "oneOf")
"""Lists of schemas for the very value that the schema around them is for."""
DEFINITIONS = ("$defs", "definitions")
_MAPS = ("properties", "patternProperties", *DEFINITIONS)
_LISTS = (*IN_PLACE, "prefixItems")
_ONES = ("items", "additionalItems", "additionalProperties")
MOST_LEVELS = 120
"""Of JSON inside one another; the matcher's own reader ends at 128."""


class Refused(Exception):
    """No answer can be constrained by a schema; the message is a reason that fits behind a
    colon."""


class Place(NamedTuple):
    """A schema inside another: its parent, its key, and the path to it from the root."""

    inside: Any
    key: Any
    path: str

    @property
    def schema(self) -> Any:
        return self.inside[self.key]


def levels(value: Any) -> int:
    """How deep values are nested, counted up to the most that is allowed and one more."""
    level, count = [value], 0
    while level and count <= MOST_LEVELS:
        count += 1
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return count


def parts(schema: Schema, path: str = "") -> Iterator[Place]:
    """The schemas right inside a schema; those under unknown keywords are none."""
    before = f"{path}." if path else ""
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, dict):
            for name in value:
                yield Place(value, name, f"{before}{keyword}.{name}")
        elif keyword in _LISTS or keyword == "items":
            if isinstance(value, list):
                for number in range(len(value)):
                    yield Place(value, number, f"{before}{keyword}[{number}]")
            elif keyword == "items":
                yield Place(schema, keyword, f"{before}{keyword}")
        elif keyword in _ONES:
            yield Place(schema, keyword, f"{before}{keyword}")


def base_of(schema: Schema, base: Schema) -> Schema:
    """The document that a schema's references start at; a schema with an id is its own."""
    name = schema.get("$id", schema.get("id"))
    return schema if isinstance(name, str) and not name.startswith("#") else base


def target(reference: Any, base: Schema) -> tuple[Any, str] | None:
    """What a reference points at inside its document, and the path there; None if not found."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    at: Any = base
    for piece in reference[1:].split("/")[1:]:
        name = unquote(piece).replace("~1", "/").replace("~0", "~")
        if isinstance(at, dict) and name in at:
            at = at[name]
        elif isinstance(at, list) and name.isdecimal() and int(name) < len(at):
            at = at[int(name)]
        else:
            return None
    return at, reference[2:].replace("/", ".")


def where(path: str) -> str:
    """A place in a sentence; long names are cut."""
    return f" (at {path if len(path) <= 80 else path[:77] + '...'})" if path else ""
