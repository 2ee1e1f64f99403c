"""Tools in Anthropic's requests. Knows no models: the worker decides whether one supports tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from api.anthropic.blocks import MOST_NAME, Name
from api.errors import ApiError
from api.schemas import Lenient, Text
from api.serving.tools import storable

MOST_TOOLS = 512
_OWN = (None, "custom")
"""Types of tools that a request describes itself. Any other is one of Anthropic's own: it runs
there, or its description is known there alone."""


def _kept(schema: dict[str, Any]) -> dict[str, Any]:
    storable({"name": "schema", "parameters": schema})
    return schema


class Tool(Lenient):
    """A tool that may be called; or a server tool, which is not offered."""

    without_effect: ClassVar[frozenset[str]] = frozenset(
        {"cache_control", "allowed_callers", "defer_loading", "eager_input_streaming"}
    )

    type: Annotated[str, Field(max_length=MOST_NAME)] | None = None
    name: Annotated[str, Field(pattern=rf"^[a-zA-Z0-9_-]{{1,{MOST_NAME}}}$")] | None = None
    description: Text | None = None
    input_schema: Annotated[dict[str, Any], AfterValidator(_kept)] | None = None
    strict: bool | None = None

    @property
    def is_offered(self) -> bool:
        return self.type in _OWN

    def function(self, field: str) -> dict[str, Any]:
        """The tool as jobs hold it. Raises ApiError for one without name or schema."""
        for name in ("name", "input_schema"):
            if getattr(self, name) is None:
                raise ApiError("invalid_request", "Field required", param=f"{field}.{name}")
        function: dict[str, Any] = {"name": self.name}
        if self.description is not None:
            function["description"] = self.description
        function["parameters"] = self.input_schema
        return function | ({"strict": True} if self.strict else {})


class Choice(Lenient):
    disable_parallel_tool_use: bool | None = None


class FreeChoice(Choice):
    type: Literal["auto", "any", "none"]


class Chosen(Choice):
    """The one tool that is to be called."""

    type: Literal["tool"]
    name: Name


ToolChoice = Annotated[FreeChoice | Chosen, Field(discriminator="type")]
Tools = Annotated[list[Tool], Field(max_length=MOST_TOOLS)]


def functions_of(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The functions that are offered. Raises ApiError for two of one name."""
    functions, names = [], set()
    for index, tool in enumerate(tools):
        if tool.is_offered:
            function = tool.function(f"tools[{index}]")
            if function["name"] in names:
                raise ApiError(
                    "invalid_request", "Tool names must be unique.", param=f"tools[{index}].name"
                )
            names.add(function["name"])
            functions.append(function)
    return functions


def forced(
    functions: list[dict[str, Any]], choice: FreeChoice | Chosen | None
) -> list[dict[str, Any]] | None:
    """The functions of which one has to be called; None if none has to."""
    if isinstance(choice, Chosen):
        return [function for function in functions if function["name"] == choice.name]
    return functions if choice is not None and choice.type == "any" else None
