"""Whether an answer can ever be whole: a schema whose required part contains itself has none. Pure.

Optional parts that can't end are removed, so that no answer begins one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wire.schemas.tree import DEFINITIONS, Place, Refused, Schema, base_of, parts, target


class Ends:
    """Which schemas of a tree have a finite value, found by iterating to a fixed point."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._schemas: list[tuple[Schema, Schema]] = []
        self._places: list[Place] = []
        self._finite: set[int] = set()
        self._collect(root, root, set())

    def apply(self) -> None:
        """Raises Refused for a tree without a finite value."""
        changed = True
        while changed:
            before = len(self._finite)
            for schema, base in self._schemas:
                if id(schema) not in self._finite and self._ends(schema, base):
                    self._finite.add(id(schema))
            changed = len(self._finite) > before
        if not self._is_finite(self._root):
            raise Refused(
                "no answer could ever be whole, since a part that it must have contains itself"
            )
        for place in self._places:
            if not self._is_finite(place.schema):
                place.inside[place.key] = False

    def _collect(self, schema: Any, base: Schema, seen: set[int]) -> None:
        if not isinstance(schema, dict) or id(schema) in seen:
            return
        seen.add(id(schema))
        base = base_of(schema, base)
        found = target(schema.get("$ref"), base)
        if found is not None:
            self._collect(found[0], base, seen)
        for place in parts(schema):
            self._collect(place.schema, base, seen)
            if not any(place.inside is schema.get(name) for name in DEFINITIONS):
                self._places.append(place)
        # After the schemas inside it: most are decided in the first round.
        self._schemas.append((schema, base))

    def _is_finite(self, schema: Any) -> bool:
        # What isn't a schema at all is the matcher's to refuse.
        return id(schema) in self._finite if isinstance(schema, dict) else schema is not False

    def _ends(self, schema: Schema, base: Schema) -> bool:
        if not all(map(self._is_finite, _listed(schema, "allOf"))):
            return False
        for keyword in ("anyOf", "oneOf"):
            options = _listed(schema, keyword)
            if options and not any(map(self._is_finite, options)):
                return False
        found = target(schema.get("$ref"), base)
        if found is not None and not self._is_finite(found[0]):
            return False
        kinds = schema.get("type")
        named = kinds if isinstance(kinds, list) else [kinds]
        ways: dict[Any, Callable[[Schema], bool]] = {
            "object": self._object_ends,
            "array": self._array_ends,
        }
        return any(
            kind not in ways or ways[kind](schema)
            for kind in named
            if isinstance(kind, (str, type(None)))
        )

    def _object_ends(self, schema: Schema) -> bool:
        listed = schema.get("properties")
        names = [name for name in _listed(schema, "required") if isinstance(name, str)]
        others = schema.get("additionalProperties", True)
        return all(
            self._is_finite(listed[name] if isinstance(listed, dict) and name in listed else others)
            for name in names
        )

    def _array_ends(self, schema: Schema) -> bool:
        least = schema.get("minItems", 0)
        if not isinstance(least, (int, float)) or least <= 0:
            return True
        items = schema.get("items", True)
        first = items if isinstance(items, list) else _listed(schema, "prefixItems")
        needed = first[: int(least)]
        if len(first) < least:
            needed = [
                *needed,
                schema.get("additionalItems", True) if isinstance(items, list) else items,
            ]
        return all(map(self._is_finite, needed))


def _listed(schema: Schema, keyword: str) -> list[Any]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []
