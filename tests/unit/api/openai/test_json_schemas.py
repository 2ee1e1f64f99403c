"""`response_format` on OpenAI's routes: schemas that are enforced, in part or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.openai_support import CHAT, Api, body


def schema(of: Any) -> dict[str, Any]:
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "strict": True, "schema": of},
        }
    }


def test_a_schema_goes_with_the_job(api: Api) -> None:
    stored = json.loads(api.job(**schema({"type": "integer"})).form.json_schema or "")
    assert stored["type"] == "integer"
    assert (
        json.loads(api.job(response_format={"type": "json_object"}).form.json_schema or "")["type"]
        == "object"
    )
    assert api.job(response_format={"type": "text"}).form.json_schema is None


@pytest.mark.parametrize("strict", [None, False])
def test_what_a_schema_cannot_have_is_refused_only_when_strict(
    api: Api, strict: bool | None
) -> None:
    wanted: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    refusal = api.refused(400, **schema(wanted))
    assert refusal["message"] == (
        "Answers can't be held to this schema: "
        'the keyword "uniqueItems" can\'t be enforced while an answer is written; '
        "leave it out, or ask without strict."
    )
    loose = schema(wanted)
    loose["response_format"]["json_schema"]["strict"] = strict
    stored = json.loads(api.job(**loose).form.json_schema or "")
    assert "uniqueItems" not in stored
    assert stored["x-warnings"] == ['The schema\'s keyword "uniqueItems" is not enforced.']


def test_a_client_cannot_set_the_matchers_options_nor_the_warnings(api: Api) -> None:
    stored = json.loads(
        api.job(
            **schema(
                {
                    "type": "integer",
                    "x-guidance": {"lenient": True},
                    "x-warnings": ["boo"],
                    "x-strict": 0,
                }
            )
        ).form.json_schema
        or ""
    )
    assert (stored["x-guidance"]["lenient"], stored["x-warnings"], "x-strict" in stored) == (
        False,
        [],
        False,
    )


@pytest.mark.parametrize(
    "of",
    [
        {"type": "nonsense"},
        {"type": "string", "pattern": "("},
        {"$ref": "http://somewhere/schema.json"},
        {"$ref": "#/definitions/missing"},
        {"not": {}},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"enum": ["x" * 70_000]},
        {"type": "nonsense", "x-guidance": {"lenient": True}},
        {"const": -9223372036854775808},
        {"const": 2**53 + 1},
        {"$ref": "#"},
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused_with_a_reason(
    api: Api, of: dict[str, Any]
) -> None:
    refusal = api.refused(400, **schema(of))
    assert (refusal["code"], refusal["param"]) == ("invalid_schema", "response_format")
    assert 20 < len(refusal["message"]) < 300


@pytest.mark.parametrize("inside", ["[" * 400 + "]" * 400, '"\\ud800"', "NaN", "1e999"])
@pytest.mark.parametrize("where", ["tools", "schema"])
def test_json_that_nobody_could_keep_is_refused(api: Api, where: str, inside: str) -> None:
    function = json.dumps([{"type": "function", "function": {"name": "f", "parameters": {"a": 0}}}])
    members = {
        "tools": f'"tools": {function}',
        "schema": f'"response_format": {json.dumps(schema({"const": 0}))[20:-1]}',
    }
    text = (
        json.dumps(body(CHAT))[:-1] + ", " + members[where].replace(": 0}", f": {inside}}}") + "}"
    )
    response = api.client.post(
        CHAT, content=text.encode(), headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    assert len(response.content) < 1024
