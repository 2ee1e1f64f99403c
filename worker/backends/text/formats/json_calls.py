"""Formats whose calls are JSON values: Mistral's, Llama's, Granite's, Phi's, and others'."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mlx_lm.tool_parsers import pythonic
from mlx_vlm.tools.parsers import cohere2_moe

from worker.backends.text.formats.syntax import (
    JSON_STRINGS,
    OPENING,
    TEXT,
    CallSyntax,
    Parse,
    ToolFormat,
)

_MISTRAL_HEAD = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\s*[\w-]*\s*)?(?:\[ARGS\]\s*)?")
_FIRST_KEYS = ("name", "type", "function", "parameters", "arguments")
_FIRST_KEY = re.compile(r'\{\s*(?:"([^"]*)("?)|\Z)')
_FIRST_NAME = re.compile(r"\[\s*(?:([A-Za-z_][\w.]*)\s*(\(?)|\Z)")


def read_json(text: str) -> Any:
    """One call or a list of them. Models write line breaks into strings."""
    value = json.loads(text, strict=False)
    return [_call(one) for one in value] if isinstance(value, list) else _call(value)


def _call(value: dict[str, Any]) -> dict[str, Any]:
    inner = value.get("function")
    call = inner if isinstance(inner, dict) else value
    arguments = call["parameters"] if "parameters" in call else call.get("arguments")
    return {"name": call["name"], "arguments": arguments}


# --- Mistral: [TOOL_CALLS][{…}], or [TOOL_CALLS]name[ARGS]{…} with [CALL_ID]… before [ARGS] -------


def _read_mistral(text: str) -> Any:
    text = text.strip()
    if text[:1] in ("[", "{"):
        return read_json(text)
    start = text.index("{")
    head = _MISTRAL_HEAD.fullmatch(text[:start])
    if head is None:
        raise ValueError("no name before the arguments")
    return {"name": head[1], "arguments": json.loads(text[start:], strict=False)}


def _mistral(_: list[Any]) -> Mapping[str, CallSyntax]:
    mark = "[TOOL_CALLS]"
    return {mark: CallSyntax(mark, _read_mistral, is_value=True, named=True)}


MISTRAL = ToolFormat(_mistral)


# --- a mark, then a list: Granite 3 and Phi-4-mini, which may close it; Nemotron, Cohere ----------


def _list_behind(mark: str, kept: str = "") -> CallSyntax:
    return CallSyntax(mark, read_json, is_value=True, kept=kept)


def _granite(_: list[Any]) -> Mapping[str, CallSyntax]:
    return {"<|tool_call|>": _list_behind("<|tool_call|>")}


def _phi(tools: list[Any]) -> Mapping[str, CallSyntax]:
    return {**_granite(tools), "functools[": _list_behind("functools[", kept="[")}


def between(start: str, end: str, parse: Parse) -> ToolFormat:
    """Calls between two marks, in JSON."""
    syntax = CallSyntax(start, parse, ((end, TEXT),), JSON_STRINGS)
    return ToolFormat(lambda _: {start: syntax})


def _write_granite(calls: list[dict[str, Any]]) -> str:
    return "<|tool_call|>" + json.dumps(calls, ensure_ascii=False)


GRANITE = ToolFormat(_granite, write=_write_granite)
PHI = ToolFormat(_phi, dropped=("<|/tool_call|>",))
NEMOTRON = between("<TOOLCALL>", "</TOOLCALL>", read_json)
COHERE = between("<|START_ACTION|>", "<|END_ACTION|>", cohere2_moe.parse_tool_call)
HERMES = between("<tool_call>", "</tool_call>", read_json)


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


def _read_named(text: str) -> Any:
    """What is behind ``<function=``: a name, then JSON."""
    name, _, arguments = text.partition(">")
    return {"name": name, "arguments": json.loads(arguments, strict=False)}


def _unmarked(tools: list[Any]) -> Mapping[str, CallSyntax]:
    calls = _Unmarked(tools)
    syntax = CallSyntax("", calls.read, is_value=True, then=OPENING, may_begin=calls.may_begin)
    ends = (("</function>", OPENING),)
    return {"": syntax, "<function=": CallSyntax("<function=", _read_named, ends, JSON_STRINGS)}


UNMARKED = ToolFormat(
    _unmarked, dropped=("<|python_end|>",), opening=("<|python_tag|>", "<|python_start|>")
)
