"""Harmony, gpt-oss' format: messages with a header that names a channel and a recipient.

    <|channel|>analysis<|message|>thinking<|end|>
    <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{}<|call|>
    <|start|>assistant<|channel|>final<|message|>text<|return|>

The recipient may also stand before the channel. Commentary without a recipient is text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_vlm.tools.parsers import harmony

from worker.backends.text.formats.syntax import (
    JSON_STRINGS,
    REASONING,
    TEXT,
    CallSyntax,
    ToolFormat,
    Transitions,
)

HEADER = "header"
FINAL = "<|channel|>final<|message|>"
"""What begins an answer without thinking."""
_REASONING_HEADER, _TEXT_HEADER = "header of reasoning", "header of text"
_MESSAGE, _RECIPIENT = "<|message|>", "to="
_ENDS = ("<|end|>", "<|return|>", "<|call|>", "<|start|>")


def is_harmony(template: str) -> bool:
    return all(mark in template for mark in ("<|start|>", "<|channel|>", _MESSAGE))


def transitions() -> Transitions:
    """Harmony's states without tool calls; the text of headers is dropped."""
    ends = [(mark, HEADER) for mark in (*_ENDS, "<|channel|>")]
    return {
        HEADER: [
            ("analysis", _REASONING_HEADER),
            ("commentary", _TEXT_HEADER),
            ("final", _TEXT_HEADER),
            (_MESSAGE, TEXT),
        ],
        _REASONING_HEADER: [(_MESSAGE, REASONING)],
        _TEXT_HEADER: [(_MESSAGE, TEXT)],
        REASONING: list(ends),
        TEXT: list(ends),
    }


def _read(text: str) -> Any:
    if not text.partition(_MESSAGE)[2].strip():
        raise ValueError("no arguments yet")
    return harmony.parse_tool_call(text)


def _syntaxes(_: list[Any]) -> Mapping[str, CallSyntax]:
    ends = tuple((mark, HEADER) for mark in _ENDS)
    call = CallSyntax(_RECIPIENT, _read, ends, JSON_STRINGS)
    return {_RECIPIENT: call}


FORMAT = ToolFormat(_syntaxes, within=(HEADER, _REASONING_HEADER, _TEXT_HEADER))
