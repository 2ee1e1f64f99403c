"""Closes objects: those that list properties allow no others, unless their schema names others.
Pure.

Left open, as JSON Schema reads them, a small model invents properties; OpenAI's strict mode and
llama.cpp close them, too. Schemas that are for one value together (``allOf``, a ``$ref`` beside
other keywords) are closed once, around all of them.
"""

from __future__ import annotations

from typing import Any

from wire.schemas.tree import DEFINITIONS, IN_PLACE, Schema, base_of, parts, target

_OTHERS = ("additionalProperties", "patternProperties")
_REMARKS = frozenset(
    ("title", "description", "default", "examples", "$comment", "$id", "id", "$schema", "type",
     "discriminator", "deprecated", "readOnly", "writeOnly", "nullable", *DEFINITIONS)
)  # fmt: skip


class Closing:
    """Closes the objects of one tree in place."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._seen: set[tuple[int, bool]] = set()
        self._together: set[int] = set()
        """Schemas that are for one value together with another: closed by themselves they would
        exclude it."""
        self._schemas: list[tuple[Schema, Schema]] = []

    def apply(self) -> None:
        self._visit(self._root, self._root, together=False)
        for schema, base in self._schemas:
            if id(schema) not in self._together:
                self._close(schema, base)

    def _visit(self, schema: Any, base: Schema, *, together: bool) -> None:
        if not isinstance(schema, dict) or (id(schema), together) in self._seen:
            return
        if not {(id(schema), True), (id(schema), False)} & self._seen:
            self._schemas.append((schema, base))
        self._seen.add((id(schema), together))
        base = base_of(schema, base)
        if together:
            self._together.add(id(schema))
        members = _members(schema, base)
        inside = together or _is_joined(schema)
        for member in members:
            self._visit(member, base, together=inside)
        known = {id(member) for member in members}
        for place in parts(schema):
            if id(place.schema) not in known:
                self._visit(place.schema, base, together=False)

    def _close(self, schema: Schema, base: Schema) -> None:
        base = base_of(schema, base)
        around = _is_joined(schema)
        if not around and "properties" not in schema:
            return
        names = _Names(base)
        if not names.collect(schema, members=around) or not names.lists:
            return
        listed = schema.get("properties", {})
        if isinstance(listed, dict):
            schema["properties"] = listed | {
                name: True for name in names.found if name not in listed
            }
            schema["additionalProperties"] = False


class _Names:
    """The properties that a schema and those for the same value name."""

    def __init__(self, base: Schema) -> None:
        self._base = base
        self._seen: set[int] = set()
        self.found: dict[str, None] = {}
        self.lists = False
        """Whether any of them lists properties at all."""

    def collect(self, schema: Any, *, members: bool) -> bool:
        """Add a schema's; False if it allows others, too: then nothing is to be closed."""
        if not isinstance(schema, dict) or id(schema) in self._seen:
            return True
        self._seen.add(id(schema))
        if any(keyword in schema for keyword in _OTHERS):
            return False
        listed, needed = schema.get("properties"), schema.get("required")
        self.lists |= isinstance(listed, dict)
        for names in (listed, needed):
            if isinstance(names, (dict, list)):
                self.found |= {name: None for name in names if isinstance(name, str)}
        inside = _members(schema, base_of(schema, self._base)) if members else []
        return all(self.collect(member, members=True) for member in inside)


def _members(schema: Schema, base: Schema) -> list[Any]:
    """The schemas inside one that are for the same value."""
    found = target(schema.get("$ref"), base)
    lists = [schema[keyword] for keyword in IN_PLACE if isinstance(schema.get(keyword), list)]
    return [
        *(member for members in lists for member in members),
        *([found[0]] if found is not None else []),
    ]


def _is_joined(schema: Schema) -> bool:
    """Whether schemas for the same value must all hold here, rather than one of them."""
    applied = [keyword for keyword in (*IN_PLACE, "$ref") if keyword in schema]
    if not applied:
        return False
    all_of = schema.get("allOf")
    several = len(applied) > 1 or (isinstance(all_of, list) and len(all_of) > 1)
    return several or any(keyword not in _REMARKS and keyword not in applied for keyword in schema)
