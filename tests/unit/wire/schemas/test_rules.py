"""What becomes of a client's schema: kept exactly, kept in part with a warning, or refused with
a reason."""

from __future__ import annotations

import json
import random
from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr

from tests.support.schema_support import settled, taken, verdict
from wire.schemas.rules import FORMATS

PET: dict[str, Any] = {
    "$defs": {
        "Cat": {
            "type": "object",
            "properties": {
                "kind": {"const": "cat", "type": "string"},
                "lives": {"type": "integer"},
            },
            "required": ["kind", "lives"],
        },
        "Dog": {
            "type": "object",
            "properties": {"kind": {"const": "dog", "type": "string"}, "name": {"type": "string"}},
            "required": ["kind", "name"],
        },
    },
    "discriminator": {
        "propertyName": "kind",
        "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"},
    },
    "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
}
OVERLAPPING = {
    "oneOf": [
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"b": {}}},
    ]
}
UNKEPT: dict[str, dict[str, Any]] = {
    "uniqueItems": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    "not": {"type": "string", "not": {"const": "x"}},
    "if": {"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}},
    "contains": {"type": "array", "contains": {"const": 1}},
    "propertyNames": {"type": "object", "propertyNames": {"minLength": 3}},
    "dependentRequired": {"type": "object", "dependentRequired": {"a": ["b"]}},
    "unevaluatedProperties": {"anyOf": [{"type": "object"}], "unevaluatedProperties": False},
}


# --- what generators write ------------------------------------------------------------------------


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    owner: Dog | None = None


class Everything(BaseModel):
    tags: set[str]
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    when: datetime
    password: SecretStr
    prices: dict[Literal["low", "high"], Annotated[float, Field(multiple_of=0.01)]]
    pair: tuple[int, str]


def test_what_pydantic_writes_is_served_and_only_the_set_is_not_kept_when_strict() -> None:
    schema = Everything.model_json_schema()
    assert verdict(schema).warnings == (
        'The schema\'s keyword "uniqueItems" (at properties.tags) is not enforced.',
        'The schema\'s format "password" (at properties.password) is not enforced.',
    )
    assert '"uniqueItems" (at properties.tags)' in verdict(schema, strict=True).reason
    del schema["properties"]["tags"]["uniqueItems"]
    assert not verdict(schema, strict=True).reason
    pets = '{"tags": [], "pet": {"kind": "dog", "owner": null}, "when": "2026-01-01T00:00:00Z", '
    rest = '"password": "x", "prices": {"low": 0.25}, "pair": [1, "a"]}'
    assert taken(schema, pets + rest, (pets + rest).replace("low", "mid")) == [pets + rest]


@pytest.mark.parametrize(
    "form", ["password", "binary", "byte", "path", "url", "uuid4", "iri", "json-pointer", "int32"]
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_format_that_is_not_known_is_an_annotation(form: str, strict: bool) -> None:
    found = verdict(
        {"type": "object", "properties": {"a": {"type": "string", "format": form}}}, strict=strict
    )
    assert not found.reason
    assert found.warnings == (f'The schema\'s format "{form}" (at properties.a) is not enforced.',)


def test_a_number_with_the_name_of_its_size_needs_no_warning() -> None:
    assert verdict({"type": "integer", "format": "int64"}).warnings == ()


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_the_formats_that_are_known_are_kept(form: str) -> None:
    assert json.loads(settled({"type": "string", "format": form}))["format"] == form
    assert taken({"type": "string", "format": form}, '"! ?"') == []


@pytest.mark.parametrize("strict", [True, False])
def test_a_union_that_a_tag_tells_apart_is_kept_exactly(strict: bool) -> None:
    assert verdict(PET, strict=strict).warnings == ()
    assert taken(
        PET, '{"kind": "cat", "lives": 9}', '{"kind": "dog", "lives": 9}', '{"kind": "cat"}'
    ) == ['{"kind": "cat", "lives": 9}']


@pytest.mark.parametrize(
    "options",
    [
        [{"const": "a", "title": "A"}, {"const": "b"}],
        [{"enum": [1, 2]}, {"enum": [3.0]}, {"type": "string"}],
        [{"type": "string"}, {"type": ["integer", "null"]}],
        [{"anyOf": [{"type": "null"}, {"type": "boolean"}]}, {"$ref": "#/$defs/Text"}],
    ],
)
def test_options_that_exclude_each_other_are_kept_exactly(options: list[Any]) -> None:
    found = verdict({"$defs": {"Text": {"type": "string"}}, "oneOf": options}, strict=True)
    assert (found.reason, found.warnings) == ("", ())


def test_a_oneof_that_cannot_be_kept_is_refused_when_strict_and_else_anyof() -> None:
    refused = verdict(OVERLAPPING, strict=True).reason
    assert refused.startswith(
        "an answer could match several options of its oneOf; give each option"
    )
    assert "coerce" not in refused
    assert verdict(OVERLAPPING).warnings == (
        "The schema's oneOf is enforced as anyOf: an answer may match several options.",
    )


@pytest.mark.parametrize("name", UNKEPT)
def test_a_keyword_that_cannot_be_kept_is_refused_when_strict_and_else_told(name: str) -> None:
    inside = {"type": "object", "properties": {"list": UNKEPT[name]}}
    assert verdict(inside, strict=True).reason == (
        f'the keyword "{name}" (at properties.list) can\'t be enforced while an answer is written; '
        "leave it out, or ask without strict"
    )
    found = verdict(inside)
    assert not found.reason
    assert found.warnings == (
        f'The schema\'s keyword "{name}" (at properties.list) is not enforced.',
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "uniqueItems": False},
        {"type": "object", "unevaluatedProperties": True, "propertyNames": {}},
        {"type": "object", "properties": {"not": {"type": "null"}, "if": {"type": "null"}}},
        {"const": {"not": 1, "format": "x", "properties": {"a": 1}}},
        {"type": "object", "unevaluatedProperties": False, "properties": {"a": {"type": "null"}}},
    ],
)
def test_what_asks_for_nothing_is_nothing_to_refuse(schema: dict[str, Any]) -> None:
    found = verdict(schema, strict=True)
    assert (found.reason, found.warnings) == ("", ())


def test_names_that_look_like_patterns_are_names() -> None:
    names = [
        "a.b",
        "(c)",
        "d/e",
        "f-g",
        "$h^",
        "{i}",
        "[j]",
        "k|l",
        "m\\n",
        'o"p',
        "ü",
        "q r",
        "#",
        "~&",
    ]
    schema = {
        "type": "object",
        "propertyNames": {"enum": names},
        "additionalProperties": {"type": "null"},
    }
    texts = [json.dumps({name: None}, ensure_ascii=False) for name in names]
    assert taken(schema, *texts, '{"axb": null}', '{"k": null}') == texts


@pytest.mark.parametrize(
    "names", [{"enum": ["a.b", "c"]}, {"pattern": "^(a\\.b|c)$"}, {"$ref": "#/$defs/N"}]
)
def test_a_map_whose_names_are_told_is_kept(names: dict[str, Any]) -> None:
    schema = {
        "$defs": {"N": {"type": "string", "enum": ["a.b", "c"]}},
        "type": "object",
        "propertyNames": names,
        "additionalProperties": {"type": "integer"},
    }
    assert verdict(schema, strict=True).warnings == ()
    texts = ('{"a.b": 1, "c": 2}', '{"axb": 1}', '{"d": 1}', '{"c": "x"}')
    assert taken(schema, *texts) == ['{"a.b": 1, "c": 2}']


def test_an_unknown_keyword_of_the_matcher_is_told_by_its_name() -> None:
    assert verdict({"$dynamicRef": "#x"}).reason == (
        'the keyword "$dynamicRef" can\'t be enforced while an answer is written'
    )


def test_warnings_are_few_and_short() -> None:
    found = verdict(
        {
            "type": "object",
            "properties": {f"{i}{'x' * 300}": {"format": "z" * 300} for i in range(50)},
        }
    )
    assert len(found.warnings) == 8
    assert all(len(sentence) < 200 for sentence in found.warnings)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [2**53 + 1, -(2**53) - 1, 1234567890123456789, 12345678901234567890123, 1e300, -1e300]
)
@pytest.mark.parametrize("form", ["const", "enum", "inside"])
def test_an_integer_that_could_come_out_as_another_is_refused(number: float, form: str) -> None:
    schema = {
        "const": {"const": number},
        "enum": {"enum": [1, number]},
        "inside": {"const": {"a": [number]}},
    }[form]
    reason = verdict({"type": "object", "properties": {"id": schema}}).reason
    assert reason == (
        "it has an integer beyond 2^53 (at properties.id), which could come out as another one; "
        "ask for a string in its place"
    )


@pytest.mark.parametrize(
    "number", [0, -1, 2**53, -(2**53), 0.1, 0.30000000000000004, 123456.789, -2.5e-3]
)
def test_numbers_that_doubles_keep_come_out_as_they_are(number: float) -> None:
    text = json.dumps(number)
    assert taken({"const": number}, text) == [text]
    assert taken({"enum": ["x", number]}, json.dumps(number + 1)) == []


def test_a_fraction_that_could_come_out_as_another_is_refused() -> None:
    reasons = [verdict({"const": {"a": 0.1 + 1 / 7**n}}).reason for n in range(1, 60)]
    assert (
        "it has a number with more digits than can be kept exactly; ask for a string in its place"
        in reasons
    )
    chance = random.Random(1)
    for _ in range(100):
        number = chance.uniform(-1000, 1000)
        found = verdict({"const": number})
        assert found.reason or taken({"const": number}, json.dumps(number)) == [json.dumps(number)]


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_no_bound_lets_a_wrong_number_through(kind: str) -> None:
    chance = random.Random(1)
    for _ in range(150):
        at = chance.choice([2**53, 2**60, 10**18, 2**63, 2**64, 10**15, 10**4]) + chance.randint(
            -3, 3
        )
        at = chance.choice([at, -at])
        name = chance.choice(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])
        schema = {"type": kind, name: at}
        if verdict(schema).reason:
            continue
        near = [at + step for step in (-1025, -3, -2, -1, 0, 1, 2, 3, 1025)]
        right = {
            "minimum": lambda one, at=at: one >= at,
            "maximum": lambda one, at=at: one <= at,
            "exclusiveMinimum": lambda one, at=at: one > at,
            "exclusiveMaximum": lambda one, at=at: one < at,
        }[name]
        wrong = [str(one) for one in near if not right(one)]
        assert taken(schema, *wrong) == [], schema


def test_the_integers_of_a_machine_are_kept_and_what_was_narrowed_is_told() -> None:
    limits = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    assert taken(limits, "1234567890123456789", "-1234567890123456789", str(2**63)) == [
        "1234567890123456789",
        "-1234567890123456789",
    ]
    assert "narrowed" in verdict(limits).warnings[0]
    assert verdict({"type": "integer", "minimum": 0, "maximum": 2**53}).warnings == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 2**63},
        {"type": "integer", "maximum": -(2**63), "minimum": -(2**63)},
        {"type": "number", "minimum": 1e16},
        {"type": "integer", "multipleOf": 2**53 + 1},
        {"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53 + 1},
    ],
)
def test_bounds_that_no_number_can_be_told_exactly_in_are_refused(schema: dict[str, Any]) -> None:
    assert verdict(schema).reason


def test_a_bound_that_an_older_draft_leaves_out_is_left_out() -> None:
    schema = {
        "type": "integer",
        "minimum": 3,
        "exclusiveMinimum": True,
        "maximum": 5,
        "exclusiveMaximum": False,
    }
    assert taken(schema, "3", "4", "5") == ["4", "5"]


# --- schemas without an answer --------------------------------------------------------------------


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
    assert taken(tree, '{"left": {"left": null}}', '{"left": null, "loop": {"on": ') == [
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
        ({"type": "string", "pattern": "(?=a)b"}, "regex parse error"),
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


# --- objects --------------------------------------------------------------------------------------

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
    assert taken(schema, right, invented) == [right]


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
    assert taken(schema, '{"a": 1, "x": 2}') == ['{"a": 1, "x": 2}']


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
    assert taken(schema, right, right.replace('"b": 2', '"b": 2, "x": 3')) == [right]


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
