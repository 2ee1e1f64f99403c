"""Schemas that no finite answer satisfies, and others that are refused as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.schema_support import allowed, settled, verdict


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}},
            "$ref": "#/$defs/a",
        },
        {
            "anyOf": [
                {"$ref": "#"},
                {"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1},
            ]
        },
    ],
)
def test_a_schema_that_requires_itself_is_refused_for_that(schema: dict[str, Any]) -> None:
    assert (
        verdict(schema).reason
        == "no answer could ever be whole, since a part that it must have contains itself"
    )


def test_a_tree_ends_where_it_may() -> None:
    tree = {
        "type": "object",
        "properties": {
            "left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "loop": {
                "type": "object",
                "properties": {"on": {"$ref": "#/properties/loop"}},
                "required": ["on"],
            },
        },
        "required": ["left"],
    }
    assert allowed(tree, '{"left": {"left": null}}', '{"left": null, "loop": {"on": ') == [
        '{"left": {"left": null}}'
    ]
    assert '"loop": false' in settled(tree)


@pytest.mark.parametrize("listed", [{"type": "integer"}, {"type": "string"}])
def test_a_property_that_has_two_schemas_is_refused(listed: dict[str, Any]) -> None:
    schema = {
        "type": "object",
        "properties": {"score": listed},
        "patternProperties": {"^score$": {"type": "integer"}},
    }
    reason = verdict(schema).reason
    assert reason.startswith(
        'its property "score" stands in properties and matches a pattern of patternProperties'
    )


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (
            {"type": "string", "pattern": "^((a{1000}){1000})$"},
            "a pattern or a number range in it is too complex",
        ),
        (
            {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1000)}},
            "too many of its parts are optional or alternatives of each other",
        ),
        (
            {"allOf": [{"type": "string"}, {"type": "null"}]},
            "Unsatisfiable schema: incompatible types",
        ),
        (
            {"type": "string", "pattern": "(?=a)b"},
            "a regular expression can't be read: look-around",
        ),
        ({"items": [[]] * 3, "type": "array"}, "schema must be an object or boolean"),
    ],
)
def test_each_other_refusal_says_what_is_the_matter(schema: dict[str, Any], reason: str) -> None:
    assert verdict(schema).reason.startswith(reason)


def test_a_large_schema_of_a_generator_is_kept() -> None:
    fields = {
        f"f{j}": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]}
        for j in range(12)
    }
    models = {
        f"M{i}": {"type": "object", "properties": fields, "required": list(fields)}
        for i in range(20)
    }
    uses = {name: {"$ref": f"#/$defs/{name}"} for name in models}
    found = verdict(
        {"$defs": models, "type": "object", "properties": uses, "required": list(uses)}, strict=True
    )
    assert (found.reason, found.warnings) == ("", ())


def test_a_long_chain_of_references_is_followed() -> None:
    chain = {
        f"M{i}": {"type": "object", "properties": {"next": {"$ref": f"#/$defs/M{i + 1}"}}}
        for i in range(400)
    }
    assert not verdict({"$defs": chain | {"M400": {"type": "null"}}, "$ref": "#/$defs/M0"}).reason
