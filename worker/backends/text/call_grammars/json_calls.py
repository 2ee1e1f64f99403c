"""Grammars of calls whose arguments are JSON: held to the schema of their tool."""

from __future__ import annotations

import json
from collections.abc import Callable

from wire.schemas import matching
from worker.backends.text.call_grammars.writer import BLANKS, Tool, Writer, literal

Build = Callable[[Writer], str]
"""Writes the rules of a format's calls, and returns what an answer with calls is."""
MOST_CALLS = 16
"""In one answer: a small model that may only go on with calls or end might never end."""
_COMMA = f'"," {BLANKS}'
_CALL_ID = "/[A-Za-z0-9]{9}/"


def repeated(one: str, between: str = BLANKS) -> str:
    """A call, or several."""
    return f"{one} ({between} {one}){{0,{MOST_CALLS - 1}}}"


def each_tool(writer: Writer, write: Callable[[Tool], str]) -> str:
    return writer.any_of(write(tool) for tool in writer.tools)


def _object(writer: Writer, name: str, arguments: str) -> str:
    """A call as an object with these keys."""

    def write(tool: Tool) -> str:
        head = f"{{{json.dumps(name)}: {json.dumps(tool.name, ensure_ascii=False)}, "
        return f'{literal(f"{head}{json.dumps(arguments)}: ")} {writer.json(tool.arguments)} "}}"'

    return each_tool(writer, write)


def between(start: str, end: str) -> Build:
    """An object between two marks."""

    def build(writer: Writer) -> str:
        call = _object(writer, "name", "arguments")
        marks = writer.text(start), writer.text(end)
        return repeated(writer.rule(f"{marks[0]} {BLANKS} {call} {BLANKS} {marks[1]}"))

    return build


def listed(start: str, end: str = "", *, name: str = "name", arguments: str = "arguments") -> Build:
    """A list of objects behind a mark, which may have the list's bracket in it."""

    def build(writer: Writer) -> str:
        call = _object(writer, name, arguments)
        opens = "" if start.endswith("[") else f'{BLANKS} "["'
        items = f'{BLANKS} {repeated(call, _COMMA)} {BLANKS} "]"'
        behind = f"{BLANKS} {writer.text(end)}" if end else ""
        return writer.rule(f"{writer.text(start)} {opens} {items} {behind}")

    return build


def cohere(writer: Writer) -> str:
    """Cohere's calls, which may have a number before their name."""
    number = '("\\"tool_call_id\\":" BLANKS /"[0-9]{1,3}"/ "," BLANKS)?'

    def write(tool: Tool) -> str:
        name = literal(f'"tool_name": {json.dumps(tool.name, ensure_ascii=False)},')
        arguments = f'"\\"parameters\\": " {writer.json(tool.arguments)}'
        return f'"{{" {BLANKS} {number} {name} {BLANKS} {arguments} {BLANKS} "}}"'

    call = each_tool(writer, write)
    items = f'"[" {BLANKS} {repeated(call, _COMMA)} {BLANKS} "]"'
    start, end = writer.text("<|START_ACTION|>"), writer.text("<|END_ACTION|>")
    return f"{start} {BLANKS} {items} {BLANKS} {end}"


def mistral(writer: Writer) -> str:
    """A list, or with the tokenisers that have a mark for arguments a name before them."""
    if "[ARGS]" not in writer.special:
        return listed("[TOOL_CALLS]")(writer)
    with_id = f"({writer.text('[CALL_ID]')} {_CALL_ID})?" if "[CALL_ID]" in writer.special else ""
    start, mark = writer.text("[TOOL_CALLS]"), writer.text("[ARGS]")

    def write(tool: Tool) -> str:
        return f"{start} {literal(tool.name)} {with_id} {mark} {writer.json(tool.arguments)}"

    return repeated(each_tool(writer, write))


def phi(writer: Writer) -> str:
    ways = (listed("<|tool_call|>", "<|/tool_call|>"), listed("functools["))
    return writer.any_of(way(writer) for way in ways)


def unmarked(writer: Writer) -> str:
    """Objects without a mark: one schema with that of the answer, so that both may begin alike."""

    def write(tool: Tool, arguments: str) -> str:
        call = {
            "type": "object",
            "properties": {"name": {"const": tool.name}, arguments: tool.arguments},
            "required": ["name", arguments],
            "additionalProperties": False,
            matching.OPTIONS_KEY: matching.OPTIONS,
        }
        return writer.json(call)

    keys = ("parameters", "arguments")
    call = writer.any_of(write(tool, key) for tool in writer.tools for key in keys)
    marks = [mark for mark in ("<|python_tag|>", "<|python_start|>") if mark in writer.special]
    opening = f"({' | '.join(map(writer.text, marks))})? " if marks else ""
    return opening + repeated(call, f'";" {BLANKS}')


def deepseek(writer: Writer) -> str:
    """As V3.1 writes them, and as R1 and V3 do: in a code fence."""
    start, end = writer.text("<｜tool▁call▁begin｜>"), writer.text("<｜tool▁call▁end｜>")
    separator = writer.text("<｜tool▁sep｜>")

    def write(tool: Tool) -> str:
        name, arguments = literal(tool.name), writer.json(tool.arguments)
        fenced = literal(f"{tool.name}\n```json\n")
        ways = (
            f"{name} {separator} {arguments}",
            f'"function" {separator} {fenced} {arguments} "\\n```"',
        )
        return f"{start} ({' | '.join(ways)}) {end}"

    calls = repeated(each_tool(writer, write))
    return f"{writer.text('<｜tool▁calls▁begin｜>')} {calls} {writer.text('<｜tool▁calls▁end｜>')}"


def kimi_k2(writer: Writer) -> str:
    start, end = writer.text("<|tool_call_begin|>"), writer.text("<|tool_call_end|>")
    separator = writer.text("<|tool_call_argument_begin|>")

    def write(tool: Tool) -> str:
        head = f"{literal(f'functions.{tool.name}:')} /[0-9]{{1,4}}/"
        return f"{start} {head} {separator} {writer.json(tool.arguments)} {end}"

    calls = repeated(each_tool(writer, write))
    marks = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
    return f"{writer.text(marks[0])} {calls} {writer.text(marks[1])}"


def harmony(writer: Writer) -> str:
    """One call: the mark behind it ends the answer."""
    header = writer.text("<|channel|>commentary to=functions.")
    constrain = writer.text("<|constrain|>json")

    def write(tool: Tool) -> str:
        message = f"{writer.text('<|message|>')} {writer.json(tool.arguments)}"
        return f'{header} {literal(tool.name)} (" " {constrain} | " json")? {message}'

    return each_tool(writer, write)
