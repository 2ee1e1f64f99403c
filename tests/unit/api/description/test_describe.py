"""The API's description: every route has a summary, a text and an example that would be accepted,
every field has a text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.batches.routes import view
from api.batches.store import BatchRecord
from api.description import request_fields
from api.description.describe import TEXTS, complete, operations
from api.description.examples import REQUESTS, RESPONSES
from wire.batches.records import LineResult
from wire.settings import Settings

DESCRIPTION = create_app(Settings()).openapi()
ROUTES = dict(operations(DESCRIPTION))
FIELDS = {
    f"{name}.{field}": shape
    for name, schema in DESCRIPTION["components"]["schemas"].items()
    for field, shape in schema.get("properties", {}).items()
}


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_has_a_summary_a_text_and_an_example(route: str) -> None:
    about = ROUTES[route]
    assert about["summary"][0].isupper()
    assert " " in about["summary"] or len(about["summary"]) > 4
    assert len(about["summary"]) <= 100
    assert len(about["description"].split()) >= 3
    contents = [
        *about.get("requestBody", {}).get("content", {}).values(),
        *about["responses"]["200"]["content"].values(),
    ]
    assert any("example" in content for content in contents)
    assert [one["name"] for one in about.get("parameters", ()) if not one.get("description")] == []


def test_every_field_has_a_text_and_no_text_is_without_a_field() -> None:
    assert [name for name, shape in FIELDS.items() if not shape.get("description")] == []
    named = {field.partition(".")[2] for field in FIELDS}
    assert [name for name in TEXTS if name not in named and name not in FIELDS] == []
    sent = {one["name"].lower() for about in ROUTES.values() for one in about.get("parameters", ())}
    assert set(request_fields.PARAMETERS) <= sent
    assert set(REQUESTS) | set(RESPONSES) == set(ROUTES)


@pytest.mark.parametrize("route", [route for route in REQUESTS if route != "POST /v1/files"])
def test_an_example_has_the_right_shape(client: TestClient, route: str) -> None:
    _, path = route.split()
    answer = client.post(path, json=REQUESTS[route])
    # There is neither a model nor a worker: what is refused for its shape would be 400 or 422.
    assert answer.status_code in (200, 404, 503, 529), answer.text


def test_an_example_of_a_response_has_only_fields_that_there_are() -> None:
    for route, example in RESPONSES.items():
        known = fields_of(ROUTES[route])
        if known and not isinstance(example, str):
            for row in example if isinstance(example, list) else [example]:
                assert set(row) <= known, route


def fields_of(about: dict[str, Any]) -> set[str]:
    """The fields of a route's response, or of one in its list; none where no schema names them."""
    schemas = [
        content.get("schema", {}) for content in about["responses"]["200"]["content"].values()
    ]
    shapes = [shape for schema in schemas for shape in schema.get("anyOf", [schema])]
    shapes = [shape.get("items", shape) for shape in shapes]
    names = [shape["$ref"].rpartition("/")[2] for shape in shapes if "$ref" in shape]
    return {
        field
        for name in names
        for field in DESCRIPTION["components"]["schemas"][name]["properties"]
    }


def test_the_examples_of_native_batches_and_their_results_are_as_these_are_told() -> None:
    record = BatchRecord("b", "ann", "m", "running", 1, 2, 1, total=2, done=1, completion_tokens=8)
    told = view(record, 9)
    for route in ("/api/engine/batches/{batch_id}", "/api/engine/batches/{batch_id}/cancel"):
        method = "POST" if route.endswith("cancel") else "GET"
        shown = RESPONSES[f"{method} {route}"]
        assert set(shown) <= set(told)
        assert set(shown["counts"]) == set(told["counts"])
    result = LineResult(1, "one", model_id="demo-chat", text="A line.", finish_reason="stop")
    line = json.loads(RESPONSES["GET /api/engine/batches/{batch_id}/results"])
    assert line.items() <= json.loads(result.encode()).items()


def test_the_status_has_the_fields_of_its_example(client: TestClient) -> None:
    for route in ("/api/engine/status", "/health"):
        assert set(RESPONSES[f"GET {route}"]) <= set(client.get(route).json())


def test_texts_of_the_code_stay() -> None:
    description: dict[str, Any] = {
        "paths": {
            "/x": {
                "get": {
                    "summary": "Its own",
                    "operationId": "made_up_x_get",
                    "description": "One thing; and another.",
                },
                "post": {
                    "summary": "Made Up",
                    "operationId": "made_up_x_post",
                    "description": "One ``thing``; and another.",
                    "parameters": [{"name": "after", "description": "Mine."}, {"name": "limit"}],
                },
            }
        },
        "components": {
            "schemas": {"S": {"properties": {"id": {"description": "Mine."}, "seed": {}}}}
        },
    }
    complete(description)
    methods = description["paths"]["/x"]
    assert [methods[name]["summary"] for name in ("get", "post")] == ["Its own", "One thing"]
    after, limit = methods["post"]["parameters"]
    assert (after["description"], limit["description"]) == ("Mine.", "How many at most.")
    fields = description["components"]["schemas"]["S"]["properties"]
    assert fields["id"] == {"description": "Mine."}
    assert fields["seed"] == {"description": TEXTS["seed"]}
