"""Tools in OpenAI's requests: their shape, and the schema of a required call.

Knows no models: the worker decides whether one supports tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from api.schemas import Lenient, Text
from api.serving.tools import MOST_TOOLS, schema_of_call, storable


class Tool(Lenient):
    """A tool that may be called.

    Its function is the chat template's to read: name, description, parameters.
    """

    type: Literal["function"]
    function: Annotated[dict[str, Any], AfterValidator(storable)]


class ChosenFunction(Lenient):
    name: Text


class Chosen(Lenient):
    """The one tool that is to be called."""

    type: Literal["function"]
    function: ChosenFunction


Tools = Annotated[list[Tool], Field(max_length=MOST_TOOLS)]
Choice = Literal["none", "auto", "required"] | Chosen


def calls_of(
    tools: Sequence[dict[str, Any]], choice: Choice | None, *, several: bool = False
) -> str:
    """The schema of a call of any tool, or of the chosen one; or of a list of calls, one at least,
    unless a tool was chosen.

    Raises ApiError if there is no such tool.
    """
    functions = [tool["function"] for tool in tools]
    if isinstance(choice, Chosen):
        functions = [function for function in functions if function["name"] == choice.function.name]
    return schema_of_call(functions, several=several and not isinstance(choice, Chosen))
