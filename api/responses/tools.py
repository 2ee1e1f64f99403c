"""Tools of Responses requests: as functions for the model, and under their own names in answers.

A custom tool is a function with one string argument. The tools of a namespace are flattened to
functions that have its name in front of theirs. Tools that OpenAI runs itself are dropped. Knows no
models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from api.chat.json_schema import ANY_OBJECT
from api.errors import ApiError
from api.schemas import MOST_LEVELS, Lenient, Text, is_shallow, whole
from api.serving.open_body import Open

MOST_TOOLS = 512
"""Of one list. Agents send the tools of all their servers."""
MOST_IN_NAME = 128
INPUT = "input"
"""The one argument of a custom tool."""
_SEPARATOR = "__"

Name = Annotated[str, Field(min_length=1, max_length=MOST_IN_NAME), AfterValidator(whole)]
Kind = Literal["function", "custom"]


def _kept(value: dict[str, Any]) -> dict[str, Any]:
    # Kept as it was sent, so everything that JSON from anywhere may hold has to be looked at.
    if not is_shallow(value):
        raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep")
    whole(json.dumps(value, ensure_ascii=False, allow_nan=False))
    return value


class FunctionTool(Lenient):
    without_effect: ClassVar[frozenset[str]] = frozenset({"defer_loading", "output_schema"})

    type: Literal["function"]
    name: Name
    description: Text | None = None
    parameters: Annotated[dict[str, Any], AfterValidator(_kept)] | None = None
    strict: bool | None = None

    def function(self, name: str) -> dict[str, Any]:
        """The function that the model is told of, under a name."""
        given = {
            "description": self.description,
            "parameters": self.parameters,
            "strict": self.strict,
        }
        return {"name": name} | {key: value for key, value in given.items() if value is not None}


class InputFormat(Lenient):
    """What the input of a custom tool looks like: the model is told so, and not held to it."""

    type: Literal["text", "grammar"]
    syntax: Text | None = None
    definition: Text | None = None


class CustomTool(Lenient):
    without_effect: ClassVar[frozenset[str]] = frozenset({"defer_loading"})

    type: Literal["custom"]
    name: Name
    description: Text | None = None
    format: InputFormat | None = None

    def function(self, name: str) -> dict[str, Any]:
        """The function that the model is told of, under a name."""
        description = self.description or ""
        if self.format is not None and self.format.definition:
            syntax = self.format.syntax or "grammar"
            description += f"\n\nThe input follows this {syntax}:\n{self.format.definition}"
        properties = {INPUT: {"type": "string", "description": "The input, as it is."}}
        parameters = ANY_OBJECT | {
            "properties": properties,
            "required": [INPUT],
            "additionalProperties": False,
        }
        return {"name": name, "description": description.strip(), "parameters": parameters}


class OtherTool(Open):
    """A tool that OpenAI runs itself, or one that isn't known."""

    type: Text


def _tag(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    return kind if kind in ("function", "custom", "namespace") else "other"


_Member = Annotated[
    Annotated[FunctionTool, Tag("function")]
    | Annotated[CustomTool, Tag("custom")]
    | Annotated[OtherTool, Tag("other")],
    Discriminator(lambda tool: "other" if _tag(tool) == "namespace" else _tag(tool)),
]


class NamespaceTool(Lenient):
    type: Literal["namespace"]
    name: Name
    description: Text | None = None
    tools: Annotated[list[_Member], Field(max_length=MOST_TOOLS)]


Tool = Annotated[
    Annotated[FunctionTool, Tag("function")]
    | Annotated[CustomTool, Tag("custom")]
    | Annotated[NamespaceTool, Tag("namespace")]
    | Annotated[OtherTool, Tag("other")],
    Discriminator(_tag),
]
Tools = Annotated[list[Tool], Field(max_length=MOST_TOOLS)]


@dataclass(frozen=True, slots=True)
class ToolName:
    """How a client knows a function of the model's."""

    kind: Kind
    name: str
    namespace: str | None = None


def flat_name(name: str, namespace: str | None) -> str:
    """The name that the model knows a tool by."""
    if not namespace:
        return name
    return f"{namespace.removesuffix(_SEPARATOR)}{_SEPARATOR}{name}"


@dataclass(slots=True)
class ToolSet:
    """The tools of a request, by the names that the model knows them by.

    ``dropped`` names those that can't be offered, as fields.
    """

    functions: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[str, ToolName] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def add(self, tools: Iterable[Any], place: str, *, anew: bool = False) -> None:
        """Take tools in. Raises ApiError for a name that is taken, unless tools may be told
        ``anew``, as items of a conversation do."""
        for number, tool in enumerate(tools):
            if not isinstance(tool, NamespaceTool):
                self._add(tool, None, f"{place}[{number}]", anew=anew)
                continue
            for inner, member in enumerate(tool.tools):
                below = f"{place}[{number}].tools[{inner}]"
                self._add(member, tool, below, anew=anew)

    def _add(
        self,
        tool: FunctionTool | CustomTool | OtherTool,
        space: NamespaceTool | None,
        place: str,
        *,
        anew: bool,
    ) -> None:
        if isinstance(tool, OtherTool):
            self.dropped.append(f"tools[].{tool.type}")
            return
        namespace = None if space is None else space.name
        name = flat_name(tool.name, namespace)
        if name in self.functions and not anew:
            raise ApiError("invalid_request", "Two tools have this name.", param=f"{place}.name")
        function = tool.function(name)
        if space is not None and space.description:
            told = f"{space.description}\n\n{function.get('description', '')}"
            function["description"] = told.strip()
        self.functions[name] = {"type": "function", "function": function}
        self.names[name] = ToolName(tool.type, tool.name, namespace)

    def only(self, names: Iterable[str]) -> ToolSet:
        """Those of these names."""
        wanted = set(names)
        kept = {name: one for name, one in self.functions.items() if name in wanted}
        return ToolSet(kept, self.names, self.dropped)


class ChosenTool(Lenient):
    type: Literal["function", "custom"]
    name: Name
    namespace: Name | None = None


class AllowedTool(Open):
    type: Text
    name: Name | None = None
    namespace: Name | None = None


class AllowedTools(Lenient):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Field(max_length=MOST_TOOLS)]


class OtherChoice(Open):
    """A tool that OpenAI runs itself."""

    type: Text


def _choice_tag(choice: Any) -> str:
    kind = choice.get("type") if isinstance(choice, dict) else getattr(choice, "type", None)
    if kind in ("function", "custom"):
        return "chosen"
    return "allowed_tools" if kind == "allowed_tools" else "other"


Choice = (
    Literal["none", "auto", "required"]
    | Annotated[
        Annotated[ChosenTool, Tag("chosen")]
        | Annotated[AllowedTools, Tag("allowed_tools")]
        | Annotated[OtherChoice, Tag("other")],
        Discriminator(_choice_tag),
    ]
)


def offered(tools: ToolSet, choice: Choice | None) -> tuple[Sequence[dict[str, Any]], bool]:
    """The functions that the model is told of, and whether it must call one.

    Raises ApiError for a choice that can't be had.
    """
    if choice in (None, "auto", "required"):
        return tuple(tools.functions.values()), choice == "required"
    if choice == "none":
        return (), False
    if isinstance(choice, ChosenTool):
        name = flat_name(choice.name, choice.namespace)
        return tuple(tools.only([name]).functions.values()), True
    if isinstance(choice, AllowedTools):
        kept = tools.only(_allowed(tools, choice.tools))
        return tuple(kept.functions.values()), choice.mode == "required"
    raise ApiError("unsupported", "A tool of this kind is not offered.", param="tool_choice")


def _allowed(tools: ToolSet, allowed: Iterable[AllowedTool]) -> Iterable[str]:
    for one in allowed:
        if one.type == "namespace":
            yield from (flat for flat, own in tools.names.items() if own.namespace == one.name)
        elif one.name is not None:
            yield flat_name(one.name, one.namespace)
