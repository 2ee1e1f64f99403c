"""How models whose formats mlx_lm reads write calls."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.mlx.formats.format_support import of
from worker.backends.text.formats.chat_format import ChatFormat
from worker.backends.text.formats.library import library_format

Write = Callable[[str, dict[str, Any]], str]


def form_of(name: str) -> ChatFormat:
    """The format of a tokeniser for which mlx_lm has found a parser of this name."""
    parser = importlib.import_module(f"mlx_lm.tool_parsers.{name}")
    tokenizer = SimpleNamespace(
        tool_call_start=parser.tool_call_start,
        tool_call_end=parser.tool_call_end,
        tool_parser=parser.parse_tool_call,
        init_kwargs={"tool_parser_type": name},
    )
    return of(library_format(tokenizer))


def plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def json_tools(name: str, given: dict[str, Any]) -> str:
    call = json.dumps({"name": name, "arguments": given}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"


def coder(name: str, given: dict[str, Any]) -> str:
    values = "".join(f"<parameter={k}>\n{plain(v)}\n</parameter>\n" for k, v in given.items())
    return f"<tool_call>\n<function={name}>\n{values}</function>\n</tool_call>"


def glm(prefix: str) -> Write:
    def write(name: str, given: dict[str, Any]) -> str:
        values = "".join(
            f"<{prefix}arg_key>{k}</{prefix}arg_key>\n<{prefix}arg_value>{plain(v)}"
            f"</{prefix}arg_value>\n"
            for k, v in given.items()
        )
        return f"<{prefix}tool_call>{name}\n{values}</{prefix}tool_call>"

    return write


def kimi_k2(name: str, given: dict[str, Any]) -> str:
    return (
        f"<|tool_calls_section_begin|><|tool_call_begin|>functions.{name}:0"
        f"<|tool_call_argument_begin|>{plain(given)}<|tool_call_end|><|tool_calls_section_end|>"
    )


def kimi_k3(name: str, given: dict[str, Any]) -> str:
    values = "".join(
        f'<|open|>argument key="{k}" type="{"string" if isinstance(v, str) else "object"}"<|sep|>'
        f"{plain(v)}<|close|>argument<|sep|>"
        for k, v in given.items()
    )
    call = f'<|open|>call tool="{name}" index="1"<|sep|>{values}<|close|>call<|sep|>'
    return f"<|open|>tools<|sep|>{call}<|close|>tools<|sep|>"


def minimax_m2(name: str, given: dict[str, Any]) -> str:
    values = "".join(f'<parameter name="{k}">{plain(v)}</parameter>\n' for k, v in given.items())
    call = f'<invoke name="{name}">\n{values}</invoke>'
    return f"<minimax:tool_call>\n{call}\n</minimax:tool_call>"


def minicpm5(name: str, given: dict[str, Any]) -> str:
    def value(of: Any) -> str:
        return f"<![CDATA[{of}]]>" if isinstance(of, str) and "\n" in of else plain(of)

    values = "".join(f'<param name="{k}">{value(v)}</param>' for k, v in given.items())
    return f'<function name="{name}">{values}</function>'


def muse_spark(name: str, given: dict[str, Any]) -> str:
    values = "".join(
        f'<atem:parameter name="{k}">{plain(v)}</atem:parameter>' for k, v in given.items()
    )
    call = f'<atem:invoke name="{name}">{values}</atem:invoke>'
    return f"<atem:function_calls>{call}</atem:function_calls>"


def gemma4(name: str, given: dict[str, Any]) -> str:
    def value(of: Any) -> str:
        if isinstance(of, str):
            return f'<|"|>{of}<|"|>'
        if isinstance(of, dict):
            return f"{{{','.join(f'{k}:{value(v)}' for k, v in of.items())}}}"
        return f"[{','.join(map(value, of))}]" if isinstance(of, list) else json.dumps(of)

    return f"<|tool_call>call:{name}{value(given)}<tool_call|>"


def function_gemma(name: str, given: dict[str, Any]) -> str:
    # Its parser takes a brace in a string for the end of the arguments.
    texts = {k: plain(v).translate({ord("{"): "(", ord("}"): ")"}) for k, v in given.items()}
    values = ",".join(f"{k}:<escape>{text}<escape>" for k, text in texts.items())
    return f"<start_function_call>call:{name}{{{values}}}<end_function_call>"


def pythonic(name: str, given: dict[str, Any]) -> str:
    values = ", ".join(f"{k}={v!r}" for k, v in given.items())
    return f"<|tool_call_start|>[{name}({values})]<|tool_call_end|>"


WRITERS: dict[str, Write] = {
    "json_tools": json_tools,
    "qwen3_coder": coder,
    "glm47": glm(""),
    "longcat": glm("longcat_"),
    "kimi_k2": kimi_k2,
    "kimi_k3": kimi_k3,
    "minimax_m2": minimax_m2,
    "minicpm5": minicpm5,
    "muse_spark": muse_spark,
    "gemma4": gemma4,
    "function_gemma": function_gemma,
    "pythonic": pythonic,
}
