"""Completes the description of the API that FastAPI makes: summaries, texts, examples.

Changes the description alone. What a route's docstring says, or a field's own text, stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from api.description import request_fields, response_fields
from api.description.examples import LINES, REQUESTS, RESPONSES

Json = dict[str, Any]
TEXTS: Mapping[str, str] = response_fields.TEXTS | request_fields.TEXTS
_METHODS = ("get", "post", "put", "patch", "delete")
_LINES = ("jsonl", "ndjson")
_SENTENCE = re.compile(r"[^.;:]+")


def operations(description: Json) -> Iterator[tuple[str, Json]]:
    """Every route as ``METHOD /path``, and what is said of it."""
    for path, methods in description["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield f"{method.upper()} {path}", methods[method]


def complete(description: Json) -> None:
    """Add what is missing."""
    for route, operation in operations(description):
        _summarise(operation)
        for parameter in operation.get("parameters", ()):
            text = request_fields.PARAMETERS.get(parameter["name"].lower())
            if text is not None:
                parameter.setdefault("description", text)
        _give_example(route, operation)
    for name, schema in description["components"]["schemas"].items():
        for field, shape in schema.get("properties", {}).items():
            text = TEXTS.get(f"{name}.{field}") or TEXTS.get(field)
            if text is not None and "description" not in shape:
                shape["description"] = text


def _summarise(operation: Json) -> None:
    """The docstring's first sentence, in place of the function's name."""
    made_of_the_name = operation["summary"].lower().replace(" ", "_")
    found = _SENTENCE.match(operation.get("description", ""))
    if operation["operationId"].startswith(made_of_the_name) and found is not None:
        operation["summary"] = " ".join(found[0].replace("``", "").split())


def _give_example(route: str, operation: Json) -> None:
    if route in REQUESTS:
        contents, example = operation["requestBody"]["content"], REQUESTS[route]
    elif route in RESPONSES:
        contents, example = operation["responses"]["200"]["content"], RESPONSES[route]
    else:
        return
    for media_type, content in contents.items():
        if media_type.endswith(_LINES):
            content.setdefault("example", LINES)
        elif isinstance(example, str) or not media_type.startswith("text/"):
            content.setdefault("example", example)
