"""Formats whose calls are tags: DeepSeek's (R1, V3, V3.1; V3.2 in DSML), Seed-OSS', MiniMax'."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mlx_lm.tool_parsers import qwen3_coder
from mlx_vlm.tools.parsers import minimax_m3

from worker.backends.text.formats.syntax import (
    JSON_STRINGS,
    TEXT,
    CallSyntax,
    Region,
    ToolFormat,
)

# --- DeepSeek R1, V3 and V3.1 ---------------------------------------------------------------------

_CALLS = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_CALL, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"


def _read_deepseek(text: str) -> list[dict[str, Any]]:
    """Calls of the form NAME, separator, JSON (V3.1), or ``function``, separator, NAME and JSON in
    a code fence."""
    decoder = json.JSONDecoder(strict=False)
    calls, position = [], text.find(_CALL)
    while position >= 0:
        start = position + len(_CALL)
        value = text.index("{", start)
        before, separator, behind = text[start:value].partition(_SEPARATOR)
        if not separator:
            raise ValueError("no name before the arguments")
        name = behind.partition("```")[0] if before.strip() == "function" else before
        arguments, end = decoder.raw_decode(text, value)
        calls.append({"name": name.strip(), "arguments": arguments})
        position = text.find(_CALL, end)
    return calls


def _deepseek(_: list[Any]) -> Mapping[str, CallSyntax]:
    start, end = _CALLS
    return {start: CallSyntax(start, _read_deepseek, ((end, TEXT),), JSON_STRINGS)}


DEEPSEEK = ToolFormat(_deepseek)

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


def _dsml(_: list[Any]) -> Mapping[str, CallSyntax]:
    values = (Region(f"<{DSML}parameter ", f"</{DSML}parameter>"),)
    return {
        f"<{DSML}{block}>": CallSyntax(
            f"<{DSML}{block}>", _read_dsml, ((f"</{DSML}{block}>", TEXT),), values
        )
        for block in _BLOCKS
    }


DSML_FORMAT = ToolFormat(_dsml)

# --- functions and parameters as tags, as Qwen3-Coder has them ------------------------------------

PARAMETERS = (Region("<parameter=", "</parameter>"),)


def tagged(start: str, end: str) -> ToolFormat:
    """Qwen3-Coder's calls between two marks."""

    def syntaxes(tools: list[Any]) -> Mapping[str, CallSyntax]:
        def parse(text: str) -> Any:
            return qwen3_coder.parse_tool_call(text.strip(), tools)

        return {start: CallSyntax(start, parse, ((end, TEXT),), PARAMETERS)}

    return ToolFormat(syntaxes)


SEED = tagged("<seed:tool_call>", "</seed:tool_call>")
CODER = tagged("<tool_call>", "</tool_call>")

# --- MiniMax M3 -----------------------------------------------------------------------------------

_M3 = "]<]minimax[>["


def _minimax_m3(tools: list[Any]) -> Mapping[str, CallSyntax]:
    start, end = minimax_m3.tool_call_start, minimax_m3.tool_call_end
    calls = (Region(f"{_M3}<invoke", f"{_M3}</invoke>"),)

    def parse(text: str) -> Any:
        return minimax_m3.parse_tool_call(text, tools)

    return {start: CallSyntax(start, parse, ((end, TEXT),), calls)}


MINIMAX_M3 = ToolFormat(_minimax_m3)
