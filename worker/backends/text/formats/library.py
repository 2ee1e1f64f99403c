"""The formats of tool calls that mlx_lm recognises and reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mlx_lm.tool_parsers import kimi_k2

from worker.backends.text.call_grammars.library import BUILDS
from worker.backends.text.formats.argument_reader import ArgumentReader, Notation
from worker.backends.text.formats.json_reader import HeadedReader, JsonReader
from worker.backends.text.formats.python_calls import PYTHON, gemma
from worker.backends.text.formats.raw_json import object_at, read_json
from worker.backends.text.formats.syntax import (
    JSON_STRINGS,
    PYTHON_STRINGS,
    TEXT,
    CallSyntax,
    Parse,
    PieceReader,
    Region,
    ToolFormat,
)
from worker.backends.text.formats.tag_reader import BLANKS, TagReader, Tags
from worker.backends.text.formats.tagged_calls import CODER_TAGS, PARAMETERS

_REGIONS: dict[str, tuple[Region, ...]] = {
    "json_tools": JSON_STRINGS,
    "kimi_k2": JSON_STRINGS,
    "pythonic": PYTHON_STRINGS,
    "qwen3_coder": PARAMETERS,
    "glm47": (Region("<arg_value>", "</arg_value>"),),
    "laguna": (Region("<arg_value>", "</arg_value>"),),
    "longcat": (Region("<longcat_arg_value>", "</longcat_arg_value>"),),
    "minimax_m2": (Region("<parameter name=", "</parameter>"),),
    "minicpm5": (Region("<param ", "</param>"),),
    "muse_spark": (Region("<atem:parameter", "</atem:parameter>"),),
    "kimi_k3": (
        Region("<|open|>argument", "<|close|>argument<|sep|>"),
        Region("<|open|>json", "<|close|>json<|sep|>"),
    ),
    "gemma4": (Region('<|"|>', '<|"|>'),),
    "function_gemma": (Region("<escape>", "<escape>"),),
}
"""Where in a call a mark is part of an argument, by the name of the library's parser."""
_NEED_END = frozenset(
    {
        "function_gemma",
        "glm47",
        "kimi_k2",
        "laguna",
        "longcat",
        "minicpm5",
        "muse_spark",
        "pythonic",
    }
)
"""Parsers that take the beginning of a call for a whole one."""
_LONGCAT, _NAME_ALONE = "longcat", re.compile(r"\s*[\w.-]+\s*")
"""The library doesn't read its calls without arguments."""
_GLM_TAGS = Tags(
    head=r"\A\s*(?P<name>[^<{]+?)(?=<arg_key>)",
    parameter=r"<arg_key>(?P<name>.*?)</arg_key>(?:\\n|\s)*<arg_value>",
    close="</arg_value>",
    trims=BLANKS,
)
_NAMED = r"""name\s*=\s*(?P<quote>["']?)(?P<name>[^"'>]+)(?P=quote)\s*>"""
_TAGS = {
    "qwen3_coder": CODER_TAGS,
    "glm47": _GLM_TAGS,
    "laguna": _GLM_TAGS,
    "longcat": Tags(
        head=r"\A\s*(?P<name>[^<{]+?)(?=<longcat_arg_key>)",
        parameter=r"<longcat_arg_key>(?P<name>.*?)</longcat_arg_key>(?:\\n|\s)*"
        r"<longcat_arg_value>",
        close="</longcat_arg_value>",
        trims=BLANKS,
    ),
    "minimax_m2": Tags(
        head=f"<invoke {_NAMED}",
        parameter=f"<parameter {_NAMED}",
        close="</parameter>",
        end="</invoke>",
        tail="</invoke>",
        trims=BLANKS,
    ),
    "minicpm5": Tags(
        head=r"""\A\s*(?P<quote>["']?)(?P<name>[^\s"'<>]+)(?P=quote)\s*>""",
        parameter=rf"<param\s+{_NAMED}",
        close="</param>",
        trims=BLANKS,
        sections=True,
    ),
    "muse_spark": Tags(
        head=r'<atem:invoke\b[^>]*?\bname="(?P<name>[^"]+)">',
        parameter=r'<atem:parameter\b[^>]*?\bname="(?P<name>[^"]+)"[^>]*?>',
        close="</atem:parameter>",
        end="</atem:invoke>",
        tail="</atem:invoke>",
        trims=BLANKS,
        guesses=True,
    ),
    "kimi_k3": Tags(
        head=r'<\|open\|>call(?:(?!<\|sep\|>).)*?\btool="(?P<name>[^"&]+)"(?:(?!<\|sep\|>).)*'
        r"<\|sep\|>",
        parameter=r'<\|open\|>argument(?:(?!<\|sep\|>).)*?\bkey="(?P<name>[^"&]+)"'
        r"(?:(?!<\|sep\|>).)*<\|sep\|>",
        close="<|close|>argument<|sep|>",
        end=r"<\|close\|>call<\|sep\|>",
        tail="<|close|>call<|sep|>",
        unless=r"<\|open\|>json",
    ),
}
_NOTATIONS: dict[str, Notation] = {
    "pythonic": PYTHON,
    "gemma4": gemma('<|"|>'),
    "function_gemma": gemma("<escape>"),
}

# --- Kimi K2: NAME:NUMBER, a mark, JSON -----------------------------------------------------------

_KIMI = re.compile(
    r"(?:(?!<\|tool_call_begin\|>).)*<\|tool_call_begin\|>\s*(?:functions\.)?(.+?):\d+\s*"
    r"<\|tool_call_argument_begin\|>\s*(?=\{)",
    re.DOTALL,
)


def _read_kimi(text: str) -> Any:
    """The calls with their arguments as they were written, if they are JSON."""
    calls, position = [], 0
    while (head := _KIMI.match(text, position)) is not None:
        arguments, position = object_at(text, head.end())
        calls.append({"name": head[1], "arguments": arguments})
    whole = text.count("<|tool_call_begin|>", position) == 0
    return calls if calls and whole else kimi_k2.parse_tool_call(text)


def _kimi_reader() -> PieceReader:
    return HeadedReader(_KIMI, lambda found: found[1])


_JSON: dict[str, tuple[Parse, Callable[[], PieceReader]]] = {
    "json_tools": (read_json, JsonReader),
    "kimi_k2": (_read_kimi, _kimi_reader),
}
"""Read here: arguments stay as they were written."""


def _reader_of(name: str | None, parse: Parse) -> Callable[[], PieceReader] | None:
    """Makes what tells a library's calls while they are written."""
    if name in _TAGS:
        return lambda: TagReader(_TAGS[name], parse)
    if name in _NOTATIONS:
        return lambda: ArgumentReader(_NOTATIONS[name], parse)
    return None


def library_format(tokenizer: Any) -> ToolFormat:
    """The format that mlx_lm found for a tokeniser, its wrapper."""
    start, end, read = tokenizer.tool_call_start, tokenizer.tool_call_end, tokenizer.tool_parser
    name = tokenizer.init_kwargs.get("tool_parser_type")

    def syntaxes(tools: list[Any]) -> Mapping[str, CallSyntax]:
        def parse(text: str) -> Any:
            if name == _LONGCAT and _NAME_ALONE.fullmatch(text):
                return {"name": text.strip(), "arguments": {}}
            return read(text.strip(), tools)

        reads, pieces = _JSON.get(name, (parse, _reader_of(name, parse)))
        syntax = CallSyntax(
            start,
            reads,
            ((end, TEXT),) if end else (),
            _REGIONS.get(name, ()),
            needs_end=name in _NEED_END and bool(end),
            pieces=pieces,
        )
        return {start: syntax}

    return ToolFormat(syntaxes, grammar=BUILDS.get(str(name)))
