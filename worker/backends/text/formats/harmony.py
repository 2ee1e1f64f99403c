"""Harmony, gpt-oss' format: messages with a header that names a channel and a recipient.

    <|channel|>analysis<|message|>thinking<|end|>
    <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{}<|call|>
    <|start|>assistant<|channel|>final<|message|>text<|return|>

The recipient may also stand before the channel. Commentary without a recipient is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from worker.backends.text.call_grammars import json_calls
from worker.backends.text.formats.json_reader import HeadedReader
from worker.backends.text.formats.raw_json import object_at
from worker.backends.text.formats.syntax import (
    JSON_STRINGS,
    OPENING,
    REASONING,
    TEXT,
    TOOL,
    CallSyntax,
    PieceReader,
    ToolFormat,
    Transitions,
)

HEADER = "header"
FINAL = "<|channel|>final<|message|>"
"""What begins an answer without thinking."""
FINAL_AFTER_THINKING = f"<|end|><|start|>assistant{FINAL}"
"""What ends the thinking and begins the text behind it."""
ANALYSIS = "<|channel|>analysis<|message|>"
"""What begins an answer with thinking."""
CALL = "<|channel|>commentary to="
"""What begins an answer that is a call."""
_REASONING_HEADER, _TEXT_HEADER = "header of reasoning", "header of text"
_MESSAGE, _RECIPIENT = "<|message|>", "to="
_ENDS = ("<|end|>", "<|return|>", "<|call|>", "<|start|>")
_AFTER_THINKING = "<|start|>assistant"
END_OF_THINKING = f"<|end|>{_AFTER_THINKING}"
"""What ends the thinking and leaves open whether a call or a text stands behind it."""
OPENINGS = {CALL: TOOL + _RECIPIENT, ANALYSIS: REASONING, _AFTER_THINKING: OPENING}


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


# Nothing is tried again: a long head without its end would take the square of its length.
_HEAD = re.compile(
    r"\s*(?:functions\.)?([^\s<|]++)(?:(?!<\|message\|>).)*+<\|message\|>\s*", re.DOTALL
)
_HEAD_OF_OBJECT = re.compile(_HEAD.pattern + r"(?=\{)", re.DOTALL)


def _read(text: str) -> Any:
    head = _HEAD.match(text)
    if head is None:
        raise ValueError("a call has a recipient and a message")
    arguments, end = object_at(text, head.end())
    if text[end:].strip():
        raise ValueError("something stands behind the arguments")
    return {"name": head[1], "arguments": arguments}


def _reader() -> PieceReader:
    return HeadedReader(_HEAD_OF_OBJECT, lambda found: found[1])


def _syntaxes(_: list[Any]) -> Mapping[str, CallSyntax]:
    ends = tuple((mark, HEADER) for mark in _ENDS)
    call = CallSyntax(_RECIPIENT, _read, ends, JSON_STRINGS, pieces=_reader)
    return {_RECIPIENT: call}


FORMAT = ToolFormat(
    _syntaxes,
    within=(HEADER, _REASONING_HEADER, _TEXT_HEADER),
    grammar=json_calls.harmony,
)
