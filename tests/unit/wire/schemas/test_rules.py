"""Which keywords of a client's schema are enforced, left out with a warning, or refused with a reason."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr

from tests.support.schema_support import allowed, settled, verdict
from wire.schemas.rules import FORMATS

UNKEPT: dict[str, dict[str, Any]] = {
    "uniqueItems": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    "not": {"type": "string", "not": {"const": "x"}},
    "if": {"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}},
    "contains": {"type": "array", "contains": {"const": 1}},
    "propertyNames": {"type": "object", "propertyNames": {"minLength": 3}},
    "dependentRequired": {"type": "object", "dependentRequired": {"a": ["b"]}},
    "unevaluatedProperties": {"anyOf": [{"type": "object"}], "unevaluatedProperties": False},
}


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
    assert allowed(schema, pets + rest, (pets + rest).replace("low", "mid")) == [pets + rest]


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
    assert allowed({"type": "string", "format": form}, '"! ?"') == []


@pytest.mark.parametrize("name", UNKEPT)
def test_a_keyword_that_cannot_be_enforced_is_refused_when_strict_and_else_a_warning(
    name: str,
) -> None:
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
    assert allowed(schema, *texts, '{"axb": null}', '{"k": null}') == texts


@pytest.mark.parametrize(
    "names", [{"enum": ["a.b", "c"]}, {"pattern": "^(a\\.b|c)$"}, {"$ref": "#/$defs/N"}]
)
def test_a_map_whose_names_are_listed_is_enforced(names: dict[str, Any]) -> None:
    schema = {
        "$defs": {"N": {"type": "string", "enum": ["a.b", "c"]}},
        "type": "object",
        "propertyNames": names,
        "additionalProperties": {"type": "integer"},
    }
    assert verdict(schema, strict=True).warnings == ()
    texts = ('{"a.b": 1, "c": 2}', '{"axb": 1}', '{"d": 1}', '{"c": "x"}')
    assert allowed(schema, *texts) == ['{"a.b": 1, "c": 2}']


def test_an_unknown_keyword_of_the_matcher_is_named() -> None:
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
