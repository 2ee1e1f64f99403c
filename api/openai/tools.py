"""Tools in OpenAI's requests: their shape, and the schema of a required call.

Knows no models: the worker decides whether one supports tools.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from api.chat.json_schema import as_text
from api.errors import ApiError
from api.schemas import MOST_LEVELS, Lenient, Text, is_shallow, whole
from wire.schemas.rules import STRICT

MOST_TOOLS = 128
ANY_OBJECT: dict[str, Any] = {"type": "object"}
NO_ARGUMENTS: dict[str, Any] = ANY_OBJECT | {"properties": {}, "additionalProperties": False}
"""What OpenAI takes a function without parameters to have."""


def _storable(function: dict[str, Any]) -> dict[str, Any]:
    # Kept as it was sent, so everything that JSON from anywhere may hold has to be looked at.
    if not is_shallow(function):
        raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep")
    whole(json.dumps(function, ensure_ascii=False, allow_nan=False))
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise ValueError("a function needs a name")
    return function


class Tool(Lenient):
    """A tool that may be called.

    Its function is the chat template's to read: name, description, parameters.
    """

    type: Literal["function"]
    function: Annotated[dict[str, Any], AfterValidator(_storable)]


class ChosenFunction(Lenient):
    name: Text


class Chosen(Lenient):
    """The one tool that is to be called."""

    type: Literal["function"]
    function: ChosenFunction


Tools = Annotated[list[Tool], Field(max_length=MOST_TOOLS)]
Choice = Literal["none", "auto", "required"] | Chosen


def calls_of(tools: Sequence[dict[str, Any]], choice: Choice | None) -> str:
    """The schema of a call of any tool, or of the chosen one.

    Raises ApiError if there is no such tool.
    """
    functions = [tool["function"] for tool in tools]
    if isinstance(choice, Chosen):
        functions = [function for function in functions if function["name"] == choice.function.name]
    if not functions:
        raise ApiError(
            "invalid_request",
            "The tool that is to be called is not among the tools.",
            param="tool_choice",
        )
    return as_text(
        {"anyOf": [_call(number, function) for number, function in enumerate(functions)]}
    )


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
