"""Formats whose calls are tags: DeepSeek's (R1, V3, V3.1; V3.2 in DSML), Seed-OSS', MiniMax'."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlx_lm.tool_parsers import qwen3_coder
from mlx_vlm.tools.parsers import minimax_m3

from worker.backends.text.call_grammars import json_calls
from worker.backends.text.call_grammars.library import coder
from worker.backends.text.call_grammars.tags import TagForm
from worker.backends.text.call_grammars.writer import Writer
from worker.backends.text.formats.json_reader import HeadedReader
from worker.backends.text.formats.raw_json import object_at
from worker.backends.text.formats.syntax import (
    JSON_STRINGS,
    TEXT,
    CallSyntax,
    Item,
    PieceReader,
    Region,
    ToolFormat,
)
from worker.backends.text.formats.tag_reader import LINE_BREAK, TagReader, Tags

# --- DeepSeek R1, V3 and V3.1 ---------------------------------------------------------------------

_CALLS = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_CALL, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"


def _read_deepseek(text: str) -> list[dict[str, Any]]:
    """Calls of the form NAME, separator, JSON (V3.1), or ``function``, separator, NAME and JSON in
    a code fence."""
    calls, position = [], text.find(_CALL)
    while position >= 0:
        start = position + len(_CALL)
        value = text.index("{", start)
        if not (name := _deepseek_name(text[start:value])):
            raise ValueError("no name before the arguments")
        arguments, end = object_at(text, value)
        calls.append({"name": name, "arguments": arguments})
        position = text.find(_CALL, end)
    return calls


def _deepseek_name(head: str) -> str:
    """The name in what is before the arguments; empty if there is none."""
    before, separator, behind = head.partition(_SEPARATOR)
    name = behind.partition("```")[0] if before.strip() == "function" else before
    return name.strip() if separator else ""


def _deepseek_reader() -> PieceReader:
    head = re.compile(rf"(?:(?!{_CALL}).)*{_CALL}([^{{]*)(?=\{{)", re.DOTALL)
    return HeadedReader(head, lambda found: _deepseek_name(found[1]))


def _deepseek(_: list[Any]) -> Mapping[str, CallSyntax]:
    start, end = _CALLS
    return {
        start: CallSyntax(
            start, _read_deepseek, ((end, TEXT),), JSON_STRINGS, pieces=_deepseek_reader
        )
    }


DEEPSEEK = ToolFormat(_deepseek, grammar=json_calls.deepseek)

# --- DSML: DeepSeek V3.2 and later ----------------------------------------------------------------

DSML = "｜DSML｜"
_BLOCKS = ("function_calls", "tool_calls")
_INVOKE_END = re.compile(rf"\s*</{DSML}invoke>")
_INVOKE = re.compile(rf'<{DSML}invoke name="([^"]+)">')
_PARAMETER = re.compile(
    rf'\s*<{DSML}parameter name="([^"]+)"(?: string="(true|false)")?>(.*?)</{DSML}parameter>',
    re.DOTALL,
)


def _read_dsml(text: str) -> list[dict[str, Any]]:
    calls, position = [], 0
    while (invoke := _INVOKE.search(text, position)) is not None:
        arguments, position = {}, invoke.end()
        while (parameter := _PARAMETER.match(text, position)) is not None:
            name, is_text, value = parameter.groups()
            arguments[name] = json.loads(value, strict=False) if is_text == "false" else value
            position = parameter.end()
        if (end := _INVOKE_END.match(text, position)) is None:
            raise ValueError("a call without its end")
        position = end.end()
        calls.append({"name": invoke[1], "arguments": arguments})
    return calls


_DSML_TAGS = Tags(
    head=rf'<{DSML}invoke name="(?P<name>[^"]+)">',
    parameter=rf'<{DSML}parameter name="(?P<name>[^"]+)"(?: string="(?:true|false)")?>',
    close=f"</{DSML}parameter>",
    end=rf"</{DSML}invoke>",
    tail=f"</{DSML}invoke>",
)


def _dsml_reader() -> PieceReader:
    return TagReader(_DSML_TAGS, _read_dsml)


def _dsml(_: list[Any]) -> Mapping[str, CallSyntax]:
    values = (Region(f"<{DSML}parameter ", f"</{DSML}parameter>"),)
    return {
        f"<{DSML}{block}>": CallSyntax(
            f"<{DSML}{block}>",
            _read_dsml,
            ((f"</{DSML}{block}>", TEXT),),
            values,
            pieces=_dsml_reader,
        )
        for block in _BLOCKS
    }


_DSML_FORM = TagForm(
    start=f"<{DSML}{_BLOCKS[0]}>",
    head=f'<{DSML}invoke name="{{name}}">',
    parameter=f'<{DSML}parameter name="{{key}}" string="{{kind}}">',
    close=f"</{DSML}parameter>",
    tail=f"</{DSML}invoke>",
    end=f"</{DSML}{_BLOCKS[0]}>",
    around_all=True,
    kind=lambda of: "true" if of == "string" else "false",
)


def _dsml_grammar(writer: Writer) -> str:
    """In either block."""
    forms = [replace(_DSML_FORM, start=f"<{DSML}{b}>", end=f"</{DSML}{b}>") for b in _BLOCKS]
    return writer.any_of(form.build(writer) for form in forms)


DSML_FORMAT = ToolFormat(_dsml, grammar=_dsml_grammar)

# --- functions and parameters as tags, as Qwen3-Coder has them ------------------------------------

PARAMETERS = (Region("<parameter=", "</parameter>"),)
CODER_TAGS = Tags(
    head=r"<function=\s*(?P<name>[^\s<>]+)>",
    parameter=r"<parameter=\s*(?P<name>[^\s<>]+)>",
    close="</parameter>",
    tail="</function>",
    trims=LINE_BREAK,
)


def tagged(start: str, end: str) -> ToolFormat:
    """Qwen3-Coder's calls between two marks."""

    def syntaxes(tools: list[Any]) -> Mapping[str, CallSyntax]:
        def parse(text: str) -> Any:
            return qwen3_coder.parse_tool_call(text.strip(), tools)

        def reader() -> PieceReader:
            return TagReader(CODER_TAGS, parse)

        return {start: CallSyntax(start, parse, ((end, TEXT),), PARAMETERS, pieces=reader)}

    return ToolFormat(syntaxes, grammar=coder(start, end).build)


SEED = tagged("<seed:tool_call>", "</seed:tool_call>")
CODER = tagged("<tool_call>", "</tool_call>")

# --- MiniMax M3 -----------------------------------------------------------------------------------

_M3 = "]<]minimax[>["
_M3_HEAD = re.compile(
    rf"""{re.escape(_M3)}<invoke\s+name\s*=\s*(["'])(?P<name>.*?)\1\s*>""", re.DOTALL
)
_M3_END = f"{_M3}</invoke>"


class _M3Reader:
    """Tells names at once, and each call's arguments at its end: a tag that comes again makes a
    list of the value before."""

    def __init__(self, tools: list[Any]) -> None:
        self._tools = tools
        self._position = 0
        self._head: re.Match[str] | None = None

    def read(self, text: str) -> list[Item]:
        items: list[Item] = []
        while True:
            if self._head is None:
                self._head = _M3_HEAD.search(text, self._position)
                if self._head is None:
                    return items
                items.append((self._head["name"], ""))
                self._position = self._head.end()
            end = text.find(_M3_END, self._position)
            if end < 0:
                self._position = max(self._head.end(), len(text) - len(_M3_END))
                return items
            self._position = end + len(_M3_END)
            call = minimax_m3.parse_tool_call(
                text[self._head.start() : self._position], self._tools
            )
            items.append(("", call["arguments"]))
            self._head = None


def _minimax_m3(tools: list[Any]) -> Mapping[str, CallSyntax]:
    start, end = minimax_m3.tool_call_start, minimax_m3.tool_call_end
    calls = (Region(f"{_M3}<invoke", f"{_M3}</invoke>"),)

    def parse(text: str) -> Any:
        return minimax_m3.parse_tool_call(text, tools)

    def reader() -> PieceReader:
        return _M3Reader(tools)

    return {start: CallSyntax(start, parse, ((end, TEXT),), calls, pieces=reader)}


_M3_FORM = TagForm(
    start=minimax_m3.tool_call_start,
    head=f'{_M3}<invoke name="{{name}}">',
    parameter=f"{_M3}<{{key}}>",
    close=f"{_M3}</{{key}}>",
    tail=f"{_M3}</invoke>",
    end=minimax_m3.tool_call_end,
    around_all=True,
    lacks=_M3,
)
MINIMAX_M3 = ToolFormat(_minimax_m3, grammar=_M3_FORM.build)
