"""Formats whose calls are JSON values: Mistral's, Llama's, Granite's, Phi's, and others'."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from mlx_lm.tool_parsers import pythonic

from worker.backends.text.call_grammars import json_calls as grammars
from worker.backends.text.formats.argument_reader import ArgumentReader
from worker.backends.text.formats.call_teller import EitherReader
from worker.backends.text.formats.json_reader import HeadedReader, JsonReader
from worker.backends.text.formats.python_calls import PYTHON
from worker.backends.text.formats.raw_json import object_at, read_json
from worker.backends.text.formats.syntax import (
    JSON_STRINGS,
    OPENING,
    TEXT,
    CallSyntax,
    Item,
    Parse,
    PieceReader,
    ToolFormat,
)

_MISTRAL_HEAD = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\s*[\w-]*\s*)?(?:\[ARGS\]\s*)?")
_FIRST_KEYS = ("name", "type", "function", "parameters", "arguments")
_FIRST_KEY = re.compile(r'\{\s*(?:"([^"]*)("?)|\Z)')
_NAME_FIRST = re.compile(r'\{\s*"name"\s*:\s*"([^"\\]*)("|\Z)')
_OBJECT_IN_LIST = re.compile(r"\[\s*\{")
_FIRST_NAME_WHOLE = re.compile(r"\[\s*[A-Za-z_][\w.]*\s*\(")
_FIRST_NAME = re.compile(r"\[\s*(?:([A-Za-z_][\w.]*)\s*(\(?)|\Z)")


# --- Mistral: [TOOL_CALLS][{…}], or [TOOL_CALLS]name[ARGS]{…} with [CALL_ID]… before [ARGS] -------


def _read_mistral(text: str) -> Any:
    text = text.strip()
    if text[:1] in ("[", "{"):
        return read_json(text)
    start = text.index("{")
    head = _MISTRAL_HEAD.fullmatch(text[:start])
    if head is None:
        raise ValueError("no name before the arguments")
    return {"name": head[1], "arguments": _object(text, start)}


def _object(text: str, start: int) -> str:
    """The object that the rest of a text is, as it was written. Raises ValueError."""
    written, end = object_at(text, start)
    if text[end:].strip():
        raise ValueError("something stands behind the arguments")
    return written


def _mistral_reader() -> PieceReader:
    head = re.compile(rf"{_MISTRAL_HEAD.pattern}(?=\{{)")
    return EitherReader(
        lambda begun: (
            None
            if not begun
            else JsonReader()
            if begun[0] in "[{"
            else HeadedReader(head, lambda found: found[1])
        )
    )


def _mistral(_: list[Any]) -> Mapping[str, CallSyntax]:
    mark = "[TOOL_CALLS]"
    return {
        mark: CallSyntax(mark, _read_mistral, is_value=True, named=True, pieces=_mistral_reader)
    }


MISTRAL = ToolFormat(_mistral, grammar=grammars.mistral)


# --- a mark, then a list: Granite 3 and Phi-4-mini, which may close it; Nemotron, Cohere ----------


def _list_behind(mark: str, kept: str = "") -> CallSyntax:
    return CallSyntax(mark, read_json, is_value=True, kept=kept, pieces=JsonReader)


def _granite(_: list[Any]) -> Mapping[str, CallSyntax]:
    return {"<|tool_call|>": _list_behind("<|tool_call|>")}


def _phi(tools: list[Any]) -> Mapping[str, CallSyntax]:
    return {**_granite(tools), "functools[": _list_behind("functools[", kept="[")}


def between(
    start: str,
    end: str,
    parse: Parse,
    pieces: Callable[[], PieceReader] = JsonReader,
    *,
    grammar: grammars.Build,
) -> ToolFormat:
    """Calls between two marks, in JSON."""
    syntax = CallSyntax(start, parse, ((end, TEXT),), JSON_STRINGS, pieces=pieces)
    return ToolFormat(lambda _: {start: syntax}, grammar=grammar)


class _CohereReader:
    """As :func:`_read_cohere`."""

    def __init__(self) -> None:
        self._reader = JsonReader()

    def read(self, text: str) -> list[Item]:
        return self._reader.read(text.removesuffix("\\").replace("\\|", "|"))


def _read_cohere(text: str) -> Any:
    """As mlx_vlm reads it: models write ``\\|`` into patterns, which JSON doesn't have."""
    return read_json(text.replace("\\|", "|"))


def _write_granite(calls: list[dict[str, Any]]) -> str:
    return "<|tool_call|>" + json.dumps(calls, ensure_ascii=False)


GRANITE = ToolFormat(_granite, write=_write_granite, grammar=grammars.listed("<|tool_call|>"))
PHI = ToolFormat(_phi, dropped=("<|/tool_call|>",), grammar=grammars.phi)
NEMOTRON = between(
    "<TOOLCALL>",
    "</TOOLCALL>",
    read_json,
    grammar=grammars.listed("<TOOLCALL>", "</TOOLCALL>"),
)
COHERE = between(
    "<|START_ACTION|>", "<|END_ACTION|>", _read_cohere, _CohereReader, grammar=grammars.cohere
)
HERMES = between(
    "<tool_call>",
    "</tool_call>",
    read_json,
    grammar=grammars.between("<tool_call>", "</tool_call>"),
)


# --- no mark: Llama 3 in JSON (or behind <function=name>), Llama 4 also as Python calls, and models
# of unknown formats


class _Unmarked:
    """Calls that begin the text, told from other JSON by the names of the request's tools."""

    def __init__(self, tools: list[Any]) -> None:
        self._names = {tool["function"]["name"] for tool in tools}

    def may_begin(self, text: str) -> bool:
        """Whether a text that begins with a bracket may be the beginning of a call."""
        if text.startswith("["):
            name = _FIRST_NAME.match(text)
            if name is not None:
                return name[1] is None or self._may_be_name(name[1], name[2] == "(", name, text)
            text = text[1:].lstrip()
        key = _FIRST_KEY.match(text)
        if key is None:
            return False
        if (name := _NAME_FIRST.match(text)) is not None:
            return self._may_be_name(name[1], bool(name[2]), name, text)
        written = key[1] or ""
        return written in _FIRST_KEYS if key[2] else any(k.startswith(written) for k in _FIRST_KEYS)

    def _may_be_name(self, name: str, is_complete: bool, match: re.Match[str], text: str) -> bool:
        if is_complete:
            return name in self._names
        is_cut = match.end() == len(text)
        return is_cut and any(known.startswith(name) for known in self._names)

    def read(self, text: str) -> Any:
        try:
            calls = read_json(text)
        except ValueError:
            calls = pythonic.parse_tool_call(text)
        several = calls if isinstance(calls, list) else [calls]
        if not all(call["name"] in self._names for call in several):
            raise ValueError("no tool of this name")
        return several

    def reader(self) -> PieceReader:
        return EitherReader(self._choose)

    def _choose(self, begun: str) -> PieceReader | None:
        if begun[:1] == "{" or _OBJECT_IN_LIST.match(begun):
            return JsonReader(self._names)
        if _FIRST_NAME_WHOLE.match(begun):
            return ArgumentReader(PYTHON, pythonic.parse_tool_call, self._names)
        return None


def _read_named(text: str) -> Any:
    """What is behind ``<function=``: a name, then JSON."""
    name, _, arguments = text.partition(">")
    return {"name": name, "arguments": _object(arguments.strip(), 0)}


def _named_reader() -> PieceReader:
    head = re.compile(r"([^>]*)>\s*(?=\{)")
    return HeadedReader(head, lambda found: found[1])


def _unmarked(tools: list[Any]) -> Mapping[str, CallSyntax]:
    calls = _Unmarked(tools)
    syntax = CallSyntax(
        "",
        calls.read,
        is_value=True,
        pieces=calls.reader,
        then=OPENING,
        may_begin=calls.may_begin,
    )
    mark, ends = "<function=", (("</function>", OPENING),)
    named = CallSyntax(mark, _read_named, ends, JSON_STRINGS, pieces=_named_reader)
    return {"": syntax, mark: named}


UNMARKED = ToolFormat(
    _unmarked,
    dropped=("<|python_end|>",),
    opening=("<|python_tag|>", "<|python_start|>"),
    grammar=grammars.unmarked,
)
