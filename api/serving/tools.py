"""Functions that a model may call, in the shape that jobs hold them in, which is OpenAI's.

Knows no models: the worker decides whether one supports tools.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from api.chat.json_schema import ANY_OBJECT, as_text
from api.errors import ApiError
from api.schemas import MOST_LEVELS, is_shallow, whole
from wire.schemas.rules import STRICT

MOST_TOOLS = 128
NO_ARGUMENTS: dict[str, Any] = ANY_OBJECT | {"properties": {}, "additionalProperties": False}
"""What OpenAI takes a function without parameters to have."""


def storable(function: dict[str, Any]) -> dict[str, Any]:
    """A function as it was sent. Raises ValueError for one that can't be kept so."""
    # Kept as it was sent, so everything that JSON from anywhere may hold has to be looked at.
    if not is_shallow(function):
        raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep")
    whole(json.dumps(function, ensure_ascii=False, allow_nan=False))
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise ValueError("a function needs a name")
    return function


def schema_of_call(functions: Sequence[dict[str, Any]], *, several: bool = False) -> str:
    """The schema of a call of any of the functions, or of a list of calls, one at least.

    Raises ApiError if there is no function.
    """
    if not functions:
        raise ApiError(
            "invalid_request",
            "The tool that is to be called is not among the tools.",
            param="tool_choice",
        )
    calls = [_call(number, function) for number, function in enumerate(functions)]
    one = {"anyOf": calls}
    called = {"type": "array", "items": one, "minItems": 1} if several else one
    return as_text(called, param="tools")


def _call(number: int, function: dict[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters")
    # With a name of its own a schema's references into itself stay its own.
    arguments = (
        ANY_OBJECT | parameters if isinstance(parameters, dict) and parameters else NO_ARGUMENTS
    )
    arguments = arguments | {"$id": f"urn:tool:{number}", STRICT: function.get("strict") is True}
    properties = {"name": {"const": function["name"]}, "arguments": arguments}
    return ANY_OBJECT | {
        "properties": properties,
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
