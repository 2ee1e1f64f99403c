"""Prepares a schema for a matcher that works token by token: keywords are kept, rewritten or
refused. Pure.

Knows no matcher: ``wire.schemas.process`` tries the outcome on one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from wire.schemas import numbers
from wire.schemas.alternatives import are_apart
from wire.schemas.tree import Refused, Schema, base_of, parts, target, where

STRICT = "x-strict"
"""The key of a schema that says whether keywords that can't be enforced are refused; schemas inside
inherit it."""
FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
)  # fmt: skip
_NOTHING: dict[str, tuple[Any, ...]] = {
    "uniqueItems": (False,),
    "unevaluatedItems": (True, {}),
    "unevaluatedProperties": (True, {}),
    "propertyNames": (True, {}),
    "not": (False,),
    "minContains": (0, 1),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
    "dependencies": ({},),
}
"""Values with which a keyword asks for nothing."""
_UNKEPT = (*_NOTHING, "if", "then", "else", "contains", "maxContains")
_SPECIAL = re.compile(r"([\\^$.|?*+()\[\]{}/])")
MOST_WARNINGS = 8


class Rules:
    """Goes through one schema and changes it in place; ``warnings`` name what won't be kept.

    ``fractions`` are numbers that the matcher must reproduce exactly; the caller checks that.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._seen: dict[int, Schema] = {}  # Kept, so that no other gets the same id.
        self._warned: dict[str, None] = {}
        self.fractions: set[float] = set()
        self.narrowed = False
        """Whether a bound had to be made narrower than it was."""

    @property
    def warnings(self) -> list[str]:
        return list(self._warned)[:MOST_WARNINGS]

    def apply(self) -> None:
        """Raises Refused for what can't be kept and must be."""
        self._visit(self._root, self._root, "", strict=False)

    def _visit(self, schema: Any, base: Schema, path: str, *, strict: bool) -> None:
        if not isinstance(schema, dict) or id(schema) in self._seen:
            return
        self._seen[id(schema)] = schema
        base = base_of(schema, base)
        strict = bool(schema.pop(STRICT, strict))
        _settle_names(schema, base)
        _settle_closed(schema)
        self._drop_unkept(schema, path, strict=strict)
        self._settle_format(schema, path)
        self._settle_numbers(schema, path)
        _check_patterns(schema, path)
        self._check_alternatives(schema, base, path, strict=strict)
        found = target(schema.get("$ref"), base)
        if found is not None:
            self._visit(found[0], base, found[1], strict=strict)
        for place in list(parts(schema, path)):
            self._visit(place.schema, base, place.path, strict=strict)

    def _warn(self, sentence: str) -> None:
        self._warned[sentence] = None

    def _drop_unkept(self, schema: Schema, path: str, *, strict: bool) -> None:
        for keyword in _UNKEPT:
            if keyword not in schema:
                continue
            asked = schema.pop(keyword)
            if asked in _NOTHING.get(keyword, ()) or (
                keyword in ("then", "else") and "if" not in schema
            ):
                continue
            if strict:
                raise Refused(
                    f'the keyword "{keyword}"{where(path)} can\'t be enforced while an answer is '
                    f"written; "
                    "leave it out, or ask without strict"
                )
            self._warn(f'The schema\'s keyword "{keyword}"{where(path)} is not enforced.')

    def _settle_format(self, schema: Schema, path: str) -> None:
        form = schema.get("format")
        if not isinstance(form, str) or form in FORMATS:
            return
        del schema["format"]
        if schema.get("type") not in ("integer", "number"):
            self._warn(f'The schema\'s format "{form[:40]}"{where(path)} is not enforced.')

    def _settle_numbers(self, schema: Schema, path: str) -> None:
        for keyword in ("const", "enum"):
            if keyword in schema:
                self.fractions |= numbers.check_constant(schema[keyword], path)
        if numbers.settle_bounds(schema, path):
            self.narrowed = True
            self._warn(
                f"The schema's bounds{where(path)} were narrowed to what can be represented "
                "exactly."
            )

    def _check_alternatives(self, schema: Schema, base: Schema, path: str, *, strict: bool) -> None:
        options = schema.get("oneOf")
        if not isinstance(options, list) or are_apart(options, base):
            return
        if strict:
            raise Refused(
                f"an answer could match several options of its oneOf{where(path)}; give each "
                f"option a required "
                "property with a const of its own, or use anyOf"
            )
        self._warn(
            f"The schema's oneOf{where(path)} is enforced as anyOf: an answer may match several "
            f"options."
        )


def _settle_names(schema: Schema, base: Schema) -> None:
    """Keep listed or patterned names as ``patternProperties``; generators write maps so."""
    if "propertyNames" not in schema or "properties" in schema or "patternProperties" in schema:
        return
    names = schema["propertyNames"]
    found = target(names.get("$ref"), base) if isinstance(names, dict) else None
    pattern = _names_pattern(found[0] if found is not None else names)
    if pattern is not None:
        del schema["propertyNames"]
        schema["patternProperties"] = {pattern: schema.get("additionalProperties", True)}
        schema["additionalProperties"] = False


def _names_pattern(names: Any) -> str | None:
    if not isinstance(names, dict):
        return None
    keywords = {
        key: value
        for key, value in names.items()
        if key not in ("type", "title", "description", "$comment")
    }
    if list(keywords) == ["pattern"] and isinstance(keywords["pattern"], str):
        return keywords["pattern"]
    listed = keywords.get("enum", [keywords.get("const")])
    if (
        len(keywords) == 1
        and isinstance(listed, list)
        and listed
        and all(isinstance(name, str) for name in listed)
    ):
        return any_of(listed)
    return None


def any_of(texts: Iterable[str]) -> str:
    """A regular expression that matches each of these texts, and nothing else."""
    return "^(?:" + "|".join(_SPECIAL.sub(r"\\\1", text) for text in texts) + ")$"


def _settle_closed(schema: Schema) -> None:
    """Keep ``unevaluatedProperties`` as ``additionalProperties`` of a schema that stands alone."""
    beside = ("allOf", "anyOf", "oneOf", "$ref", "if", "additionalProperties")
    if schema.get("unevaluatedProperties") is False and not any(
        keyword in schema for keyword in beside
    ):
        del schema["unevaluatedProperties"]
        schema["additionalProperties"] = False


def _check_patterns(schema: Schema, path: str) -> None:
    """A name that is listed and matches a pattern has two schemas, of which a matcher keeps one."""
    patterns, listed = schema.get("patternProperties"), schema.get("properties")
    if not isinstance(patterns, dict) or not isinstance(listed, dict):
        return
    for pattern in patterns:
        try:
            search = re.compile(pattern).search
        except re.error:
            continue  # Another dialect's, or invalid: the matcher refuses it.
        name = next((name for name in listed if search(name)), None)
        if name is not None:
            raise Refused(
                f'its property "{name[:60]}"{where(path)} stands in properties and matches a '
                f"pattern of "
                "patternProperties, and only one of the two can be kept"
            )
