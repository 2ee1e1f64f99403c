"""Answers in harmony that come back in a conversation's history as they were written: templates
refuse them, and take thinking and text apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.backends.text.formats import harmony
from worker.backends.text.formats.syntax import OutputSyntax
from worker.backends.text.output_parser import OutputParser
from worker.text_decoder import Output

Row = dict[str, Any]
_SYNTAX = OutputSyntax(harmony.transitions(), harmony.HEADER)


def split_answers(rows: Sequence[Row]) -> list[Row]:
    """The messages with the assistant's thinking apart from its text."""
    return [_split(row) for row in rows]


def _split(row: Row) -> Row:
    content = row["content"]
    if row["role"] != "assistant" or "<|message|>" not in content:
        return row
    parser = OutputParser(_SYNTAX, (), "")
    said = Output.together([parser.add(content), parser.finish()])
    thought = "\n\n".join(filter(None, (row.get("reasoning_content"), said.reasoning)))
    return row | {"content": said.text} | ({"reasoning_content": thought} if thought else {})
