"""Splits a model's output into text, thinking and tool calls, and ends it at stop texts.

Works on decoded text with mlx_lm's state machine, so a mark may span tokens. Knows neither tokens
nor MLX arrays.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_lm.generate import TextStateMachine

from wire.messages import ChatJob, ToolCall
from worker.backends.text.chat_template import is_thinking
from worker.sequence import Output

log = logging.getLogger(__name__)
TEXT, REASONING, TOOL = "normal", "reasoning", "tool"
"""mlx_lm's names. The text of other states is the model's markup, and dropped."""
Transitions = dict[str, list[tuple[str, str | None]]]
Parse = Callable[[str], Any]
_CALL_ID_LENGTH = 9
_BEGUN = re.compile(r'\{"name": ("(?:[^"\\]|\\.)*")(?:, "arguments": (.*)|,.*)?', re.DOTALL)
"""The beginning of a required tool call: its schema leaves one way of writing it."""


@dataclass(frozen=True, slots=True)
class OutputSyntax:
    """How a model marks its output: texts that lead from one state to another, and the parser of
    its tool calls."""

    transitions: Transitions = field(default_factory=dict)
    initial: str = TEXT
    tool_start: str = ""
    parse: Parse | None = None
    must_call: bool = False
    """Whether the answer is a tool call and no part of it can be text."""


def syntax_of(tokenizer: Any, job: ChatJob, prompt_ids: Sequence[int]) -> OutputSyntax:
    """How a model marks its answer to a prompt, as far as the job asks to have it split."""
    if not job.form.separate:
        return OutputSyntax()
    initial = tokenizer.response_initial_state or TEXT
    if is_thinking(tokenizer, prompt_ids):
        initial = tokenizer.response_initial_state or REASONING
    if job.form.json_schema is not None:
        return _schema_syntax(tokenizer, initial, must_call=job.form.must_call)
    transitions = _transitions(tokenizer)
    if not job.form.tools or not tokenizer.has_tool_calling:
        return OutputSyntax(_without_tools(transitions), initial)
    tools = list(job.form.tools)
    return OutputSyntax(
        _with_tools(transitions, tokenizer),
        initial,
        tokenizer.tool_call_start,
        lambda text: tokenizer.tool_parser(text, tools),
    )


def _schema_syntax(tokenizer: Any, initial: str, *, must_call: bool) -> OutputSyntax:
    """In an answer that follows a schema a mark is part of some value; only thinking that was begun
    still ends."""
    goal = TOOL if must_call else TEXT
    transitions: Transitions = {goal: []}
    if initial == REASONING:
        transitions[REASONING] = [(tokenizer.think_end, goal)]
    else:
        initial = goal
    return OutputSyntax(transitions, initial, parse=json.loads, must_call=must_call)


def _transitions(tokenizer: Any) -> Transitions:
    """The model's marks, those of tool calls only as far as it brings transitions for them."""
    transitions: Transitions = {}
    if tokenizer.has_thinking:
        transitions = {
            TEXT: [(tokenizer.think_start, REASONING)],
            REASONING: [(tokenizer.think_end, TEXT)],
        }
    for mark in tokenizer.structural_markers:
        transitions.setdefault(TEXT, []).append((mark, TEXT))
    for state, edges in tokenizer.response_transitions.items():
        transitions.setdefault(state, []).extend(edges)
    return transitions


def _with_tools(transitions: Transitions, tokenizer: Any) -> Transitions:
    start, end = tokenizer.tool_call_start, tokenizer.tool_call_end
    if not any(state == TOOL for edges in transitions.values() for _, state in edges):
        transitions.setdefault(TEXT, []).append((start, TOOL))
        if tokenizer.has_thinking:
            transitions[REASONING].append((start, TOOL))
    if end:
        transitions.setdefault(TOOL, []).append((end, TEXT))
    return transitions


def _without_tools(transitions: Transitions) -> Transitions:
    return {
        state: [edge for edge in edges if edge[1] != TOOL] for state, edges in transitions.items()
    }


class OutputParser:
    """The parser of one answer. Stop texts count in the text alone: a tool call may contain a line
    break."""

    def __init__(self, syntax: OutputSyntax, stop: Sequence[str], job_id: str) -> None:
        self.stopped = False
        self.stop_text: str | None = None
        self._stop = tuple(stop)
        transitions = {state: list(edges) for state, edges in syntax.transitions.items()}
        transitions.setdefault(TEXT, []).extend((text, None) for text in stop)
        self._machine = TextStateMachine(transitions).make_state(syntax.initial)
        self._syntax = syntax
        self._job_id = job_id
        self._state: str | None = syntax.initial
        self._call = ""
        self._calls = 0
        self._trims = False
        """Whether line breaks are skipped: those after a mark belong to it."""

    def add(self, text: str) -> Output:
        """The output that this text completes."""
        if self.stopped:
            return Output()
        *_, held = self._machine
        self._machine, segments = TextStateMachine.split(self._machine, text)
        if self._machine[0] is None:
            *_, rest = self._machine
            self.stop_text = self._stop_at_end((held + text).removesuffix(rest))
        if len(segments) == 1:
            return self._take(*segments[0])
        return Output.together(
            [self._take(*segment, entered=index > 0) for index, segment in enumerate(segments)]
        )

    def _stop_at_end(self, text: str) -> str | None:
        return max((stop for stop in self._stop if text.endswith(stop)), key=len, default=None)

    def finish(self) -> Output:
        """The output still held back. An incomplete or unreadable tool call becomes text:
        nothing is lost.

        A required one becomes a call even so, with its arguments as far as they go.
        """
        if self.stopped:
            return Output()
        self._machine, held, _ = TextStateMachine.flush(self._machine)
        rest = self._take(self._state, held)
        return Output.together([rest, self._called()]) if self._state == TOOL else rest

    def _take(self, state: str | None, text: str, *, entered: bool = False) -> Output:
        """The output of a text in one state; ``entered``: a mark led into it."""
        before = Output()
        if entered:
            before = self._called() if self._state == TOOL else before
            self._state, self._trims = state, True
            self.stopped = state is None
        if state == TOOL:
            self._call += text
            return before
        if self._trims and text:
            text = text.lstrip("\r\n")
            self._trims = not text
        piece = (
            Output(text)
            if state == TEXT
            else Output(reasoning=text)
            if state == REASONING
            else Output()
        )
        return Output.together([before, piece]) if any(before) else piece

    def _called(self) -> Output:
        """The tool calls in the text since the mark, or that text itself if it can't be parsed."""
        text, self._call = self._call, ""
        try:
            assert self._syntax.parse is not None, "without tools there is no way into this state"
            parsed = self._syntax.parse(text)
            calls = [_read(call) for call in (parsed if isinstance(parsed, list) else [parsed])]
            if not calls:
                raise ValueError("no call in it")
        except Exception as error:  # The library's parsers raise errors of any type.
            if self._syntax.must_call:
                return self._begun(text)
            log.info("a call of a tool could not be read (%s)", type(error).__name__)
            return Output(self._syntax.tool_start + text)
        return Output(
            tool_calls=tuple(ToolCall(id=self._new_id(), name=n, arguments=a) for n, a in calls)
        )

    def _begun(self, text: str) -> Output:
        """An incomplete tool call, once its name is complete; nothing before that."""
        begun = _BEGUN.fullmatch(text)
        if begun is None:
            return Output()
        return Output(
            tool_calls=(
                ToolCall(id=self._new_id(), name=json.loads(begun[1]), arguments=begun[2] or ""),
            )
        )

    def _new_id(self) -> str:
        # The same when an answer continues after a crash. Mistral's templates accept only nine
        # letters or digits.
        self._calls += 1
        return hashlib.sha256(f"{self._job_id}:{self._calls}".encode()).hexdigest()[
            :_CALL_ID_LENGTH
        ]


def _read(call: Any) -> tuple[str, str]:
    """A call's name and the JSON text of its arguments. Raises ValueError if it isn't a call."""
    name, arguments = call["name"], call.get("arguments") or {}
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        raise ValueError("a call has a name and an object of arguments")
    return name, json.dumps(arguments, ensure_ascii=False)
