"""Objects that list their properties allow no others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.schema_support import allowed, settled
from tests.unit.wire.schemas.alternatives import PET

A = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
B = {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}


@pytest.mark.parametrize(
    ("schema", "right", "invented"),
    [
        (A, '{"a": 1}', '{"a": 1, "x": 2}'),
        ({"type": "array", "items": A}, '[{"a": 1}]', '[{"a": 1, "x": 2}]'),
        ({"anyOf": [A, {"type": "null"}]}, '{"a": 1}', '{"a": 1, "x": 2}'),
        ({"$defs": {"A": A}, "$ref": "#/$defs/A"}, '{"a": 1}', '{"a": 1, "x": 2}'),
        ({"allOf": [A], "description": "one"}, '{"a": 1}', '{"a": 1, "x": 2}'),
        ({"allOf": [A, B]}, '{"a": 1, "b": 2}', '{"a": 1, "b": 2, "x": 3}'),
        (
            {"$defs": {"A": A}, "$ref": "#/$defs/A", "properties": {"c": {}}},
            '{"a": 1}',
            '{"a": 1, "x": 3}',
        ),
        (
            {**A, "anyOf": [B, {"properties": {"c": {}}}]},
            '{"a": 1, "b": 2}',
            '{"a": 1, "b": 2, "x": 3}',
        ),
        (
            {**A, "anyOf": [{"required": ["a"]}, {"required": ["z"]}]},
            '{"a": 1}',
            '{"a": 1, "x": 3}',
        ),
        ({**A, "required": ["a", "z"]}, '{"a": 1, "z": null}', '{"a": 1, "z": null, "x": 3}'),
        (
            {"$id": "urn:x", "properties": {"n": {"$ref": "#/$defs/A"}}, "$defs": {"A": A}},
            '{"n": {"a": 1}}',
            '{"n": {"x": 1}}',
        ),
        ({"type": "object", "properties": {}}, "{}", '{"x": 1}'),
    ],
)
def test_an_object_takes_no_property_that_is_not_listed(
    schema: dict[str, Any], right: str, invented: str
) -> None:
    assert allowed(schema, right, invented) == [right]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {**A, "additionalProperties": True},
        {**A, "additionalProperties": {"type": "integer"}},
        {**A, "patternProperties": {"^x": {"type": "integer"}}},
        {"allOf": [A, {"type": "object", "additionalProperties": {"type": "integer"}}]},
    ],
)
def test_an_object_that_speaks_of_others_takes_them(schema: dict[str, Any]) -> None:
    assert allowed(schema, '{"a": 1, "x": 2}') == ['{"a": 1, "x": 2}']


def test_a_schema_that_is_used_alone_and_with_others_stays_satisfiable() -> None:
    schema = {
        "$defs": {"A": A, "B": B},
        "type": "object",
        "properties": {
            "one": {"$ref": "#/$defs/A"},
            "both": {"allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]},
        },
        "required": ["one", "both"],
    }
    right = '{"one": {"a": 1}, "both": {"a": 1, "b": 2}}'
    assert allowed(schema, right, right.replace('"b": 2', '"b": 2, "x": 3')) == [right]


def test_a_settled_schema_is_settled_as_it_is() -> None:
    for schema in (
        PET,
        A,
        {"allOf": [A, B]},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    ):
        once = json.loads(settled(schema))
        again = json.loads(settled(once))
        once.pop("x-warnings"), again.pop("x-warnings")
        assert again == once
