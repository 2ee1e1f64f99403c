"""The formats of tool calls that mlx_lm recognises and reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.backends.text.formats.syntax import (
    JSON_STRINGS,
    PYTHON_STRINGS,
    TEXT,
    CallSyntax,
    Region,
    ToolFormat,
)
from worker.backends.text.formats.tagged_calls import PARAMETERS

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


def library_format(tokenizer: Any) -> ToolFormat:
    """The format that mlx_lm found for a tokeniser, its wrapper."""
    start, end, read = tokenizer.tool_call_start, tokenizer.tool_call_end, tokenizer.tool_parser
    regions = _REGIONS.get(tokenizer.init_kwargs.get("tool_parser_type"), ())

    def syntaxes(tools: list[Any]) -> Mapping[str, CallSyntax]:
        def parse(text: str) -> Any:
            return read(text.strip(), tools)

        return {start: CallSyntax(start, parse, ((end, TEXT),) if end else (), regions)}

    return ToolFormat(syntaxes)
