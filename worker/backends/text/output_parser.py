"""Splits a model's output into text, thinking and tool calls, and ends it at stop texts.

Works on decoded text, so a mark may span tokens: mlx_lm's state machine finds the marks, and
``call_body`` the ends of calls. Knows neither tokens nor MLX arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mlx_lm.generate import TextStateMachine

from wire.messages import ToolCallDelta
from worker.backends.stop_texts import StopTexts
from worker.backends.text.formats.call_body import CallBody, End, body_of
from worker.backends.text.formats.call_teller import CallTeller, begun_calls, calls_in, cut_calls
from worker.backends.text.formats.syntax import (
    OPENING,
    REASONING,
    TEXT,
    TOOL,
    CallSyntax,
    Item,
    OutputSyntax,
    Transitions,
)
from worker.text_decoder import Output

__all__ = ["REASONING", "TEXT", "TOOL", "OutputParser", "OutputSyntax", "Transitions"]
_CALL_ID_LENGTH = 9
_BETWEEN_CALLS = " \t\r\n;"


class OutputParser:
    """The parser of one answer. Stop texts count in the text alone (a tool call may contain a line
    break), and not within the first ``min_tokens`` tokens. With ``call_pieces`` calls are told as
    they are written, else each at its end."""

    def __init__(
        self,
        syntax: OutputSyntax,
        stop: Sequence[str],
        job_id: str,
        min_tokens: int = 0,
        *,
        call_pieces: bool = False,
    ) -> None:
        self.stopped = False
        self.has_open_call = False
        """Whether a call that was begun to be told can't be read, or has no end yet."""
        self.stop_text: str | None = None
        self._stops = StopTexts(stop, min_tokens)
        self._calls = _calls_of(syntax)
        transitions = {state: list(edges) for state, edges in syntax.transitions.items()}
        transitions.setdefault(TEXT, []).extend((text, None) for text in stop)
        self._marks = TextStateMachine(transitions | {state: [] for state in self._calls})
        self._must_call = syntax.must_call
        self._openings = syntax.openings
        self._calls_stay = syntax.calls_stay
        self._job_id = job_id
        self._made = 0
        self._opening = ""
        """Text in which a call without a mark may begin, or that stands before one that has."""
        self._header: str | None = ""
        """The text before the first mark in a state whose text is dropped; None behind a mark."""
        self._trims = False
        """Whether line breaks are skipped: those after a mark belong to it."""
        self._state: str | None = syntax.initial
        self._call_pieces = call_pieces
        self._teller = CallTeller(None)
        self._body = self._body_in(syntax.initial)
        self._machine = self._marks.make_state(syntax.initial)

    @property
    def thinks(self) -> bool:
        """Whether the text that comes next is thinking, or the mark that ends it."""
        return self._state == REASONING

    @property
    def held(self) -> str:
        """The last text if it may be the beginning of a mark."""
        *_, held = self._machine
        return str(held)

    def add(self, text: str) -> Output:
        """The output that the text of the next token completes."""
        self._stops.count_token()
        return self._read(text)

    def _read(self, text: str) -> Output:
        pieces: list[Output] = []
        while text and not self.stopped:
            if self._body is not None:
                text = self._take_call(self._body, text, pieces)
            elif self._state == OPENING:
                text = self._take_opening(text)
            else:
                text = self._take(text, pieces)
        return pieces[0] if len(pieces) == 1 else Output.together(pieces)

    def finish(self, text: str = "") -> Output:
        """The output still held back, behind a last text that no token has completed. An incomplete
        or unreadable tool call becomes text: nothing is lost.

        A required one becomes a call even so, with its arguments as far as they go.
        """
        pieces = [self._read(text)]
        while not self.stopped and (self._body is not None or self._opening):
            if self._body is not None:
                rest = self._take_cut_call(self._body, pieces)
            else:
                begun, rest = self._opening.lstrip(_BETWEEN_CALLS), self._opening
                self._opening = ""
                if self._openings and (not begun or self._begins_mark(begun)):
                    rest = ""
                self._go_on_in(TEXT, trims=self._trims)
            pieces.append(self._read(rest))
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
        stop, rest = None, ""
        if self._machine[0] is None:
            *_, rest = self._machine
            stop = self._stops.at_end((held + text).removesuffix(rest))
        (_, first), *entered = segments
        pieces.append(self._said(first))
        for state, segment in entered:
            if state is None and stop is not None and not self._stops.heeded:
                pieces.append(self._said(stop))
                self._machine = self._marks.make_state(TEXT)
                return rest
            self._enter(state)
            if self._body is not None or state == OPENING:
                return str(segment)
            pieces.append(self._said(segment))
        self.stop_text = stop
        return ""

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
        return None if syntax is None else self._body_of(syntax)

    def _body_of(self, syntax: CallSyntax) -> CallBody:
        makes = syntax.pieces if self._call_pieces else None
        self._teller = CallTeller(None if makes is None else makes())
        return body_of(syntax)

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

    @property
    def _stays_call(self) -> bool:
        """Whether the present call can't become text any more."""
        return self._teller.has_told or (self._calls_stay and bool(self._syntax.start))

    def _take_opening(self, text: str) -> str:
        """Take a text where a call without a mark may begin; returns what is to be taken next."""
        self._opening += text
        begun = self._opening.lstrip(_BETWEEN_CALLS)
        if not begun or self._begins_mark(begun):
            return ""
        mark = next((mark for mark in self._openings if begun.startswith(mark)), None)
        if mark is not None:
            self._opening = ""
            self._go_on_in(self._openings[mark], trims=True)
            return begun.removeprefix(mark)
        if begun[0] in "{[" and TOOL in self._calls and _may_begin(self._calls[TOOL], begun):
            self._opening = self._opening.removesuffix(begun)
            self._body = self._body_of(self._calls[TOOL])
            return begun
        held, self._opening = self._opening, ""
        if self._openings:
            held = begun
        self._go_on_in(TEXT, trims=self._trims)
        return held

    def _begins_mark(self, text: str) -> bool:
        """Whether a text may go on as one that an answer may begin with."""
        return any(mark != text and mark.startswith(text) for mark in self._openings if text)

    def _take_call(self, body: CallBody, text: str, pieces: list[Output]) -> str:
        """Take the next text of a call; returns what came behind its end."""
        end = body.add(text)
        if end is None and not _may_begin(self._syntax, body.text):
            end = End(body.text, "", TEXT)
        if end is not None:
            return self._ended(end, pieces)
        self._tell(self._teller.read(body.text), pieces)
        return ""

    def _tell(self, items: Sequence[Item], pieces: list[Output]) -> None:
        if items:
            pieces.append(Output(tool_calls=tuple(self._told(*item) for item in items)))

    def _ended(self, end: End, pieces: list[Output], *, whole: bool = True) -> str:
        """Take a call that has ended, or was cut and is text; returns what is to be taken next."""
        syntax, before = self._syntax, self._opening
        self._opening = ""
        calls = self._teller.rest(calls_in(syntax, end.content)) if whole else None
        if calls or (calls is not None and self._teller.has_told):
            self._tell(calls, pieces)
            self._go_on_in(end.state, trims=True)
            return end.rest
        if self._stays_call:
            self.has_open_call = self.stopped = True
            self._body = None
            return ""
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
        # A value that is whole has ended already.
        if not (syntax.is_value or syntax.needs_end) and calls_in(syntax, text):
            return self._ended(End(text, "", TEXT), pieces)
        if self._stays_call or self._must_call:
            self.has_open_call = not self._must_call
            if not self._teller.has_told:
                cut = cut_calls(text) if self._must_call else begun_calls(syntax, text)
                self._tell(cut, pieces)
            self._body = None
            return ""
        # Where a string was not closed, the first mark is the end.
        marks = [(at, *end) for end in syntax.ends if (at := text.find(end[0])) >= 0]
        if not marks:
            return self._ended(End(text, "", TEXT), pieces, whole=False)
        at, mark, state = min(marks)
        return self._ended(End(text[:at], text[at + len(mark) :], state), pieces)

    def _told(self, name: str, arguments: str) -> ToolCallDelta:
        # Its id is the same when an answer continues after a crash. Mistral's templates accept only
        # nine letters or digits.
        self._made += bool(name)
        digest = hashlib.sha256(f"{self._job_id}:{self._made}".encode()).hexdigest()
        return ToolCallDelta(digest[:_CALL_ID_LENGTH], name, arguments)


def _calls_of(syntax: OutputSyntax) -> dict[str, CallSyntax]:
    """The calls by the states in which they are read."""
    if syntax.calls or syntax.parse is None:
        return dict(syntax.calls)
    ends = tuple(syntax.transitions.get(TOOL, ()))
    return {TOOL: CallSyntax(syntax.tool_start, syntax.parse, ends)}


def _may_begin(syntax: CallSyntax, text: str) -> bool:
    return syntax.may_begin is None or syntax.may_begin(text)
