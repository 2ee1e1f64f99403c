"""Hostile schemas: the API serves or refuses each, with a reason, and goes on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.api_support import MODEL, FakeWorker, announce, message
from tests.support.fake_api import fake_api, fake_redis
from wire.model_registry import Registry

CHAT = "/v1/chat/completions"
EXTREMES = (
    -(2**63), -(2**63) + 1, -(2**63) - 1, -9223372036854775296, -9223372036854775297, -(2**64), -1e300, -1e19,
    2**63 - 1, 2**63, 2**64, 1e300, 1e19, -(2**53) - 1, 2**53 + 1, -1, 0, 5e-324, -0.0,
)  # fmt: skip


def numbers() -> Iterator[dict[str, Any]]:
    for number in EXTREMES:
        yield {"const": number}
        yield {"enum": [number, 1]}
        yield {"type": "integer", "const": number}
        yield {"type": "integer", "multipleOf": number}
    for kind, least, most in itertools.product(("integer", "number"), EXTREMES[:13], EXTREMES[:13]):
        yield {
            "type": kind,
            "minimum" if kind == "integer" else "exclusiveMinimum": least,
            "maximum": most,
        }
    for name, number in itertools.product(("minimum", "maximum", "exclusiveMinimum"), EXTREMES):
        yield {"type": "integer", name: number}
        yield {"allOf": [{"type": "integer"}, {name: number}]}
    for name, number in itertools.product(
        ("minItems", "maxItems", "minLength", "maxLength", "minProperties"), EXTREMES
    ):
        yield {"type": ["array", "string", "object"], name: number}


def nested(keyword: str, depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = (
            {"type": "object", "properties": {"a": schema}}
            if keyword == "properties"
            else {keyword: [schema]}
        )
    return schema


SHAPES: dict[str, dict[str, Any]] = {
    "nested objects": nested("properties", 26),
    "nested anyOf": nested("anyOf", 26),
    "nested allOf": nested("allOf", 26),
    "a costly pattern": {"type": "string", "pattern": "^((a{1000}){1000})$"},
    "a costlier pattern": {"type": "string", "pattern": "^((((a{100}){100}){100}){100})$"},
    "a pattern of alternatives": {"type": "string", "pattern": "(a|b|ab|ba)*" * 200},
    "a pattern in patternProperties": {
        "patternProperties": {"((a{1000}){1000})": {}, "(b{1000}){1000}": {}}
    },
    "a pattern that Python never ends": {
        "properties": {"a" * 40 + "!": {}},
        "patternProperties": {"^(a+)+$": {}},
    },
    "unicode classes": {"type": "string", "pattern": "^[\\p{L}\\p{N}]{1,3000}$"},
    "a long text": {"type": "string", "minLength": 10**9},
    "a long list": {"type": "array", "items": {"type": "null"}, "minItems": 10**9},
    "a circle": {"$ref": "#"},
    "two circles": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
    "a circle through allOf": {"allOf": [{"$ref": "#"}, {"properties": {"a": {"$ref": "#"}}}]},
    "a doubling": {
        "$defs": {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
        | {"d40": {}},
        "$ref": "#/$defs/d0",
    },
    "many options": {
        "oneOf": [{"type": "object", "properties": {f"p{i}": {}}} for i in range(900)]
    },
    "many optional properties": {
        "type": "object",
        "properties": {f"p{i}": {} for i in range(3000)},
    },
    "many definitions": {
        "$defs": {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(900)},
        "$ref": "#/$defs/d0",
    },
    "a foreign file": {"$ref": "file:///etc/passwd"},
    "a foreign address": {"$ref": "http://127.0.0.1:1/schema.json"},
    "a foreign meta-schema": {"$schema": "http://127.0.0.1:1/schema.json", "type": "string"},
    "wrong types": {
        "type": 5,
        "properties": [],
        "required": {},
        "enum": 3,
        "anyOf": {},
        "$ref": 1,
        "format": [],
    },
    "options of the matcher's": {
        "x-guidance": {"whitespace_pattern": "(a{1000}){1000}"},
        "type": "object",
    },
    "surrogates in a pattern": {"type": "string", "pattern": "[\\ud800-\\udfff]{1000}"},
}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    redis = fake_redis()
    announce(redis)
    Registry(redis).put(MODEL.model_copy(update={"takes_tools": True}))
    with TestClient(fake_api(redis)) as made, FakeWorker(redis).running():
        yield made


def request_answer(client: TestClient, schema: dict[str, Any], *, as_tool: bool = False) -> None:
    """Request an answer with a schema: it is served, or refused with a sentence."""
    body: dict[str, Any] = {"model": MODEL.id, "messages": [message()]}
    if as_tool:
        function = {"name": "f", "parameters": {"type": "object", "properties": {"a": schema}}}
        body |= {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    else:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": schema},
        }
    answer = client.post(
        CHAT, content=json.dumps(body).encode(), headers={"content-type": "application/json"}
    )
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "invalid_schema"), error
        assert 20 < len(error["message"]) < 400
        assert "coerce" not in error["message"]
        assert "crashes" not in error["message"]


def test_extreme_numbers_are_served_or_refused(client: TestClient) -> None:
    for number, schema in enumerate(numbers()):
        request_answer(client, schema, as_tool=number % 7 == 0)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("as_tool", [False, True], ids=["answer", "call"])
def test_hostile_shapes_are_served_or_refused(client: TestClient, name: str, as_tool: bool) -> None:
    request_answer(client, SHAPES[name], as_tool=as_tool)
    assert client.get("/health").status_code == 200
