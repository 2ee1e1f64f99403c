"""Whether no value can match two options of a ``oneOf``: then it means the same as ``anyOf``. Pure.

Compares types, listed values and tags of unions; options that these don't separate count as
overlapping.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

from wire.schemas.tree import Schema, target

_TYPES = frozenset(("null", "boolean", "number", "string", "array", "object"))
_DEEPEST = 6
MOST_PAIRS = 5_000


def are_apart(options: Sequence[Any], base: Schema) -> bool:
    """Whether each two of the options exclude each other."""
    pairs = list(itertools.islice(itertools.combinations(options, 2), MOST_PAIRS + 1))
    return len(pairs) <= MOST_PAIRS and all(
        _apart(one, other, base, _DEEPEST) for one, other in pairs
    )


def _apart(one: Any, other: Any, base: Schema, deepest: int) -> bool:
    one, other = _followed(one, base), _followed(other, base)
    if one is False or other is False:
        return True
    if not isinstance(one, dict) or not isinstance(other, dict) or deepest == 0:
        return False
    for left, right in ((one, other), (other, one)):
        for keyword in ("anyOf", "oneOf"):
            options = left.get(keyword)
            if isinstance(options, list) and all(
                _apart(option, right, base, deepest - 1) for option in options
            ):
                return True
    values, others = _values(one), _values(other)
    if values is not None and others is not None:
        return not values & others
    if not _types(one) & _types(other):
        return True
    return _types(one) == _types(other) == {"object"} and _has_tag(one, other, base, deepest - 1)


def _has_tag(one: Schema, other: Schema, base: Schema, deepest: int) -> bool:
    """Whether both have a property that excludes the other, and one of them requires it."""
    left, right = one.get("properties"), other.get("properties")
    if not isinstance(left, dict) or not isinstance(right, dict):
        return False
    needed = [
        names for names in (one.get("required"), other.get("required")) if isinstance(names, list)
    ]
    tags = {
        name
        for names in needed
        for name in names
        if isinstance(name, str) and name in left and name in right
    }
    return any(_apart(left[name], right[name], base, deepest) for name in tags)


def _followed(schema: Any, base: Schema) -> Any:
    for _ in range(_DEEPEST):
        found = target(schema.get("$ref"), base) if isinstance(schema, dict) else None
        if found is None:
            return schema
        schema = found[0]
    return schema


def _values(schema: Schema) -> set[str] | None:
    """The values that are listed, as JSON; None if none are."""
    if "const" in schema:
        return {_canonical(schema["const"])}
    listed = schema.get("enum")
    return {_canonical(value) for value in listed} if isinstance(listed, list) else None


def _canonical(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _types(schema: Schema) -> frozenset[str]:
    values = _values(schema)
    if values is not None:
        return frozenset(_type_of(json.loads(value)) for value in values)
    kinds = schema.get("type")
    named = kinds if isinstance(kinds, list) else [kinds]
    if None in named:
        return _TYPES
    return frozenset("number" if kind == "integer" else str(kind) for kind in named)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        bool: "boolean",
        int: "number",
        float: "number",
        str: "string",
        list: "array",
        dict: "object",
    }
    return names[type(value)]
