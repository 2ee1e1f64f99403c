"""The shape of a model's output: states, the marks that lead from one to another, tool calls.

Plain data; the streaming parser is ``worker.backends.text.output_parser``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.backends.text.call_grammars.json_calls import Build

TEXT, REASONING, TOOL = "normal", "reasoning", "tool"
"""mlx_lm's names. The text of other states is the model's markup, and dropped."""
OPENING = "opening"
"""Before the text, where some models write tool calls without a mark, and where an answer that is
either calls or held to a schema shows which."""
Edges = list[tuple[str, str | None]]
Transitions = dict[str, Edges]
Item = tuple[str, str]
"""A call's name and the first of its arguments, or no name and the next ones."""
MOST_HEAD = 1_000
"""Characters between two arguments, or before the first. Behind more a call is told at its end:
they are looked through again with each token."""
Parse = Callable[[str], Any]
"""Reads the text of one or more calls: an object with a name and arguments, or a list of them.
Raises an error of any type if there is none."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a call in which marks are characters, such as a string. ``escapes``: a backslash
    escapes the character behind it."""

    opens: str
    closes: str
    escapes: bool = False


JSON_STRINGS = (Region('"', '"', escapes=True),)
PYTHON_STRINGS = (*JSON_STRINGS, Region("'", "'", escapes=True))


class PieceReader(Protocol):
    """Tells the calls of a text while it grows. What it has told is the beginning of what the
    parser of the whole text returns; otherwise the text is no call that can be read."""

    def read(self, text: str) -> list[Item]:
        """What can be told now; ``text`` is the one of the last time with more behind it. Raises an
        error of any type where it can't go on."""


def check_head(text: str, position: int) -> None:
    """Raises ValueError if what is looked for from a position on should have come."""
    if len(text) - position > MOST_HEAD:
        raise ValueError("too much before the next part of a call")


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """The calls behind one mark: where they end and how they are read.

    Calls end at one of ``ends``, each with the state that follows it. Without any, they end with
    the JSON value that they are (``is_value``), or with the answer. ``named``: a name stands before
    the value. ``needs_end``: the parser takes the beginning of a call for a whole one. ``start`` is
    the mark; ``kept`` is the part of it that belongs to the calls.
    """

    start: str
    parse: Parse
    ends: tuple[tuple[str, str | None], ...] = ()
    regions: tuple[Region, ...] = ()
    is_value: bool = False
    named: bool = False
    needs_end: bool = False
    kept: str = ""
    pieces: Callable[[], PieceReader] | None = None
    """Makes what tells a call while it is written; without it calls are told at their end."""
    then: str = TEXT
    """The state behind a call that ends with its value."""
    may_begin: Callable[[str], bool] | None = None
    """Of calls without a mark: whether a text can be the beginning of one."""


@dataclass(frozen=True, slots=True)
class OutputSyntax:
    """How a model marks its output: texts that lead from one state to another, and its tool
    calls: of one kind (``tool_start``, ``parse``), or of several, by their states."""

    transitions: Transitions = field(default_factory=dict)
    initial: str = TEXT
    tool_start: str = ""
    parse: Parse | None = None
    must_call: bool = False
    """Whether the answer is a tool call and no part of it can be text."""
    calls: Mapping[str, CallSyntax] = field(default_factory=dict)
    openings: Mapping[str, str] = field(default_factory=dict)
    """Texts that an answer may begin with, and the state behind each."""
    calls_stay: bool = False
    """Whether what begins with the mark of a call can be no text, even if it can't be read."""


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """A format of tool calls.

    ``syntaxes`` makes the syntax of its calls by mark, for the request's tools; calls under the
    mark "" need none and begin the text. Marks count in the states ``within``. ``dropped`` are
    further marks that are no text; behind those in ``opening`` calls without a mark may begin.
    """

    syntaxes: Callable[[list[Any]], Mapping[str, CallSyntax]]
    within: tuple[str, ...] = (TEXT, REASONING)
    dropped: tuple[str, ...] = ()
    opening: tuple[str, ...] = ()
    write: Callable[[list[Any]], str] | None = None
    """Writes calls of an earlier turn, for templates that leave them out."""
    grammar: Build | None = None
    """Writes the grammar of calls; of a format without one any text behind its mark is a call."""
