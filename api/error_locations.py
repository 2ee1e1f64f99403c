"""Where in a request an error is, by fields that a client can find there, and what it is.

pydantic's places hold more: the tag or the type of the member of a union that was tried, and the
parts of what a validator has made of a simpler form, such as a text that stands for a list of
parts.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

Place = tuple[str | int, ...]
_NO_OBJECT = ("dict_type", "model_type", "model_attributes_type")
_UNKNOWN: Any = object()
_INNER = ("schema", "json_schema", "lax_schema", "python_schema")
"""Where a schema that only wraps another holds it."""


def shape_of(annotation: Any) -> type[BaseModel] | None:
    """The model that a route takes as its body, optional or not."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(filter(None, map(shape_of, typing.get_args(annotation))), None)
    return (
        annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    )


def sentence(error: Mapping[str, Any]) -> str:
    """pydantic's sentence, but for those that quote what was sent or speak of Python's types."""
    if error["type"] in _NO_OBJECT:
        return "Input should be an object"
    if error["type"] == "union_tag_invalid":
        return f"Input should have a type of {error['ctx']['expected_tags']}"
    if error["type"] == "union_tag_not_found":
        return "Input should have a type"
    return str(error["msg"])


def fields(place: Iterable[str | int], shape: type[BaseModel], body: Any = _UNKNOWN) -> Place:
    """The fields of ``body`` that lead to a place in ``shape``, as far as they exist."""
    walk = _Walk(shape.__pydantic_core_schema__, body)
    for name in place:
        if not walk.step(name):
            break
    return tuple(walk.passed)


class _Walk:
    """A path through a schema and, in parallel, through the value that was sent."""

    def __init__(self, schema: Any, value: Any) -> None:
        self.passed: list[str | int] = []
        self._definitions: dict[str, Any] = {}
        self._schema, self._value = self._bare(schema), value

    def step(self, name: str | int) -> bool:
        """Go on by one element of pydantic's place; False when nothing of that kind was sent."""
        kind = self._schema.get("type")
        if kind in ("tagged-union", "union"):
            self._schema = self._bare(self._choice(name))
            return bool(self._schema)
        if not self._fits(kind):
            return False
        self.passed.append(name)
        self._value = _inside(self._value, name)
        self._schema = self._bare(self._below(kind, name))
        return True

    def _fits(self, kind: str | None) -> bool:
        """Whether what was sent has the form that the schema means, before any validator brought it
        there."""
        if self._value is _UNKNOWN:
            return kind in ("list", "dict", "model-fields")
        expected = {"list": list, "dict": dict, "model-fields": dict}.get(kind or "")
        return expected is not None and isinstance(self._value, expected)

    def _choice(self, name: str | int) -> Any:
        choices = self._schema["choices"]
        if isinstance(choices, Mapping):
            return choices.get(name)
        for choice in choices:
            schema, label = choice if isinstance(choice, tuple) else (choice, None)
            if name in (label, getattr(schema.get("cls"), "__name__", None), schema.get("type")):
                return schema
        return None

    def _below(self, kind: str | None, name: str | int) -> Any:
        if kind == "list":
            return self._schema.get("items_schema")
        if kind == "dict":
            return self._schema.get("values_schema")
        return next(
            (
                field
                for own, field in self._schema["fields"].items()
                if name in (own, field.get("validation_alias"))
            ),
            None,
        )

    def _bare(self, schema: Any) -> Any:
        """A schema without what wraps it: defaults, validators, references."""
        while schema is not None:
            if schema["type"] == "definitions":
                self._definitions |= {one["ref"]: one for one in schema["definitions"]}
            if schema["type"] == "definition-ref":
                schema = self._definitions.get(schema["schema_ref"])
                continue
            inner = next(
                (schema[name] for name in _INNER if isinstance(schema.get(name), dict)), None
            )
            if inner is None:
                return schema
            schema = inner
        return {}


def _inside(value: Any, name: str | int) -> Any:
    if isinstance(value, dict) and name in value:
        return value[name]
    if isinstance(value, list) and isinstance(name, int) and name < len(value):
        return value[name]
    return _UNKNOWN
