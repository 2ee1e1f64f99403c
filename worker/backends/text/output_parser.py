"""Splits a model's output into text, thinking and tool calls, and ends it at stop texts.

Works on decoded text, so a mark may span tokens: mlx_lm's state machine finds the marks, and
``call_body`` the ends of calls. Knows neither tokens nor MLX arrays.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from typing import Any

from mlx_lm.generate import TextStateMachine

from wire.messages import ToolCall
from worker.backends.text.formats.call_body import CallBody, End, body_of
from worker.backends.text.formats.syntax import (
    OPENING,
    REASONING,
    TEXT,
    TOOL,
    CallSyntax,
    OutputSyntax,
    Transitions,
)
from worker.sequence import Output

__all__ = ["REASONING", "TEXT", "TOOL", "OutputParser", "OutputSyntax", "Transitions"]
log = logging.getLogger(__name__)
_CALL_ID_LENGTH = 9
_BETWEEN_CALLS = " \t\r\n;"
_BEGUN = re.compile(r'\{"name": ("(?:[^"\\]|\\.)*")(?:, "arguments": (.*)|,.*)?', re.DOTALL)
"""The beginning of a required tool call: its schema leaves one way of writing it."""


class OutputParser:
    """The parser of one answer. Stop texts count in the text alone: a tool call may contain a line
    break."""

    def __init__(self, syntax: OutputSyntax, stop: Sequence[str], job_id: str) -> None:
        self.stopped = False
        self.stop_text: str | None = None
        self._stop = tuple(stop)
        self._calls = _calls_of(syntax)
        transitions = {state: list(edges) for state, edges in syntax.transitions.items()}
        transitions.setdefault(TEXT, []).extend((text, None) for text in stop)
        self._marks = TextStateMachine(transitions | {state: [] for state in self._calls})
        self._must_call = syntax.must_call
        self._job_id = job_id
        self._made = 0
        self._opening = ""
        """Text in which a call without a mark may begin, or that stands before one that has."""
        self._header: str | None = ""
        """The text before the first mark in a state whose text is dropped; None behind a mark."""
        self._trims = False
        """Whether line breaks are skipped: those after a mark belong to it."""
        self._state: str | None = syntax.initial
        self._body = self._body_in(syntax.initial)
        self._machine = self._marks.make_state(syntax.initial)

    def add(self, text: str) -> Output:
        """The output that this text completes."""
        pieces: list[Output] = []
        while text and not self.stopped:
            if self._body is not None:
                text = self._take_call(self._body, text, pieces)
            elif self._state == OPENING:
                text = self._take_opening(text)
            else:
                text = self._take(text, pieces)
        return pieces[0] if len(pieces) == 1 else Output.together(pieces)

    def finish(self) -> Output:
        """The output still held back. An incomplete or unreadable tool call becomes text:
        nothing is lost.

        A required one becomes a call even so, with its arguments as far as they go.
        """
        pieces: list[Output] = []
        while not self.stopped and (self._body is not None or self._opening):
            if self._body is not None:
                rest = self._take_cut_call(self._body, pieces)
            else:
                rest, self._opening = self._opening, ""
                self._go_on_in(TEXT, trims=self._trims)
            pieces.append(self.add(rest))
        if not self.stopped:
            self._machine, held, _ = TextStateMachine.flush(self._machine)
            pieces.append(self._said(held))
            if self._header and "<|" not in self._header:
                # The answer of a model that has left its format.
                pieces.append(Output(self._header))
        return Output.together(pieces)

    # --- text between calls -----------------------------------------------------------------------

    def _take(self, text: str, pieces: list[Output]) -> str:
        """Take a text as far as the next call; returns the rest."""
        *_, held = self._machine
        self._machine, segments = TextStateMachine.split(self._machine, text)
        if self._machine[0] is None:
            *_, rest = self._machine
            self.stop_text = self._stop_at_end((held + text).removesuffix(rest))
        (_, first), *entered = segments
        pieces.append(self._said(first))
        for state, segment in entered:
            self._enter(state)
            if self._body is not None or state == OPENING:
                return str(segment)
            pieces.append(self._said(segment))
        return ""

    def _stop_at_end(self, text: str) -> str | None:
        return max((stop for stop in self._stop if text.endswith(stop)), key=len, default=None)

    def _enter(self, state: str | None) -> None:
        """Note that a mark has led into a state."""
        self._state, self._trims, self._header = state, True, None
        self._body = self._body_in(state)
        self.stopped = state is None

    def _go_on_in(self, state: str | None, *, trims: bool) -> None:
        """Look for the marks of a state from here on."""
        self._enter(state)
        self._trims = trims
        if state is not None:
            self._machine = self._marks.make_state(state)

    def _body_in(self, state: str | None) -> CallBody | None:
        syntax = self._calls.get(state or "")
        return None if syntax is None else body_of(syntax)

    def _said(self, text: str) -> Output:
        """The output of a text in the present state."""
        if self._trims and text:
            text = text.lstrip("\r\n")
            self._trims = not text
        if self._state == TEXT:
            return Output(text)
        if self._state == REASONING:
            return Output(reasoning=text)
        if self._header is not None:
            self._header += text
        return Output()

    # --- calls ------------------------------------------------------------------------------------

    @property
    def _syntax(self) -> CallSyntax:
        """The syntax of the present call."""
        return self._calls[TOOL if self._state == OPENING else str(self._state)]

    def _take_opening(self, text: str) -> str:
        """Take a text where a call without a mark may begin; returns what is to be taken next."""
        self._opening += text
        begun = self._opening.lstrip(_BETWEEN_CALLS)
        if not begun:
            return ""
        if begun[0] in "{[" and _may_begin(self._syntax, begun):
            self._opening = self._opening.removesuffix(begun)
            self._body = body_of(self._syntax)
            return begun
        held, self._opening = self._opening, ""
        self._go_on_in(TEXT, trims=self._trims)
        return held

    def _take_call(self, body: CallBody, text: str, pieces: list[Output]) -> str:
        """Take the next text of a call; returns what came behind its end."""
        end = body.add(text)
        if end is None and not _may_begin(self._syntax, body.text):
            end = End(body.text, "", TEXT)
        return "" if end is None else self._ended(end, pieces)

    def _ended(self, end: End, pieces: list[Output]) -> str:
        """Take a call that has ended; returns what is to be taken next."""
        syntax, before = self._syntax, self._opening
        self._opening = ""
        if calls := _read(syntax, end.content):
            pieces.append(Output(tool_calls=tuple(self._call(*call) for call in calls)))
            self._go_on_in(end.state, trims=True)
            return end.rest
        start = syntax.start.removesuffix(syntax.kept)
        if syntax.is_value:
            # It was text all along, and may hold marks and stop texts.
            pieces.append(Output(start))
            self._go_on_in(TEXT, trims=False)
            return before + end.content + end.rest
        pieces.append(Output(start + end.content))
        self._go_on_in(end.state, trims=True)
        return end.rest

    def _take_cut_call(self, body: CallBody, pieces: list[Output]) -> str:
        """Take a call that ends with the answer; returns what is to be taken next."""
        syntax, text = self._syntax, body.text
        if _read(syntax, text):
            return self._ended(End(text, "", TEXT), pieces)
        if self._must_call:
            pieces.append(self._begun(text))
            self._body = None
            return ""
        # Where a string was not closed, the first mark is the end.
        marks = [(at, *end) for end in syntax.ends if (at := text.find(end[0])) >= 0]
        if not marks:
            return self._ended(End(text, "", TEXT), pieces)
        at, mark, state = min(marks)
        return self._ended(End(text[:at], text[at + len(mark) :], state), pieces)

    def _begun(self, text: str) -> Output:
        """An incomplete tool call, once its name is complete; nothing before that."""
        begun = _BEGUN.fullmatch(text)
        if begun is None:
            return Output()
        return Output(tool_calls=(self._call(json.loads(begun[1]), begun[2] or ""),))

    def _call(self, name: str, arguments: str) -> ToolCall:
        # Its id is the same when an answer continues after a crash. Mistral's templates accept only
        # nine letters or digits.
        self._made += 1
        digest = hashlib.sha256(f"{self._job_id}:{self._made}".encode()).hexdigest()
        return ToolCall(id=digest[:_CALL_ID_LENGTH], name=name, arguments=arguments)


def _calls_of(syntax: OutputSyntax) -> dict[str, CallSyntax]:
    """The calls by the states in which they are read."""
    if syntax.calls or syntax.parse is None:
        return dict(syntax.calls)
    ends = tuple(syntax.transitions.get(TOOL, ()))
    return {TOOL: CallSyntax(syntax.tool_start, syntax.parse, ends)}


def _may_begin(syntax: CallSyntax, text: str) -> bool:
    return syntax.may_begin is None or syntax.may_begin(text)


def _read(syntax: CallSyntax, text: str) -> list[tuple[str, str]]:
    """Names and arguments of the calls in a text; none if it can't be read."""
    try:
        parsed = syntax.parse(text)
        calls = parsed if isinstance(parsed, list) else [parsed]
        return [_name_and_arguments(call) for call in calls]
    except Exception as error:  # The library's parsers raise errors of any type.
        log.info("a call of a tool could not be read (%s)", type(error).__name__)
        return []


def _name_and_arguments(call: Any) -> tuple[str, str]:
    """A call's name and the JSON text of its arguments. Raises ValueError if it isn't a call."""
    name, arguments = call["name"], call.get("arguments") or {}
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        raise ValueError("a call has a name and an object of arguments")
    return name, json.dumps(arguments, ensure_ascii=False)
