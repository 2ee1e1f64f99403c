"""The syntax of one answer: the model's format, as far as the job asks to have it split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wire.messages import ChatJob, OutputFormat
from worker.backends.text.formats import harmony, json_calls
from worker.backends.text.formats.chat_format import ChatFormat
from worker.backends.text.formats.json_reader import JsonReader
from worker.backends.text.formats.raw_json import read_json
from worker.backends.text.formats.syntax import (
    OPENING,
    REASONING,
    TEXT,
    TOOL,
    CallSyntax,
    OutputSyntax,
    ToolFormat,
    Transitions,
)


def syntax_of(
    form: ChatFormat, job: ChatJob, *, opens_thinking: bool = False, goes_on: bool = False
) -> OutputSyntax:
    """How a model marks its answer; ``opens_thinking``: its prompt has begun the thinking;
    ``goes_on``: or else the text, or an answer that it continues."""
    if not job.form.separate:
        return OutputSyntax()
    begun = REASONING if opens_thinking else TEXT
    initial = begun if goes_on else form.initial or begun
    tools = call_format(form, job.form)
    if job.form.may_call and tools is not None:
        return _either_syntax(form, initial, tools, list(job.form.tools))
    if job.form.is_guided:
        return _schema_syntax(form, initial, must_call=job.form.must_call)
    transitions = {state: list(edges) for state, edges in form.transitions.items()}
    if not job.form.tools or tools is None:
        return OutputSyntax(_without_tools(transitions), initial)
    syntax = _with_tools(tools, transitions, initial, list(job.form.tools))
    # No call without a mark stands behind a beginning.
    return replace(syntax, initial=initial) if goes_on else syntax


def call_format(form: ChatFormat, asked: OutputFormat) -> ToolFormat | None:
    """The format of an answer's calls: the model's own, or the one that its prompt tells it."""
    return json_calls.HERMES if asked.prompt_tools else form.tools


def thinking_syntax_of(form: ChatFormat, job: ChatJob, **begun: bool) -> OutputSyntax:
    """The marks of thinking alone, whether the answer is split or not."""
    whole = job.form.model_copy(update={"separate": True, "tools": ()})
    return syntax_of(form, job.model_copy(update={"form": whole}), **begun)


def _schema_syntax(form: ChatFormat, initial: str, *, must_call: bool) -> OutputSyntax:
    """In an answer that follows a schema a mark is part of some value; only thinking that was begun
    still ends."""
    goal = TOOL if must_call else TEXT
    transitions: Transitions = {goal: []}
    if initial == REASONING and form.thinking is not None:
        transitions[REASONING] = [(form.thinking.end, goal)]
    else:
        initial = goal
    call = CallSyntax("", read_json, pieces=JsonReader)
    return OutputSyntax(transitions, initial, must_call=must_call, calls={TOOL: call})


def _either_syntax(
    form: ChatFormat, initial: str, tools: ToolFormat, offered: list[Any]
) -> OutputSyntax:
    """An answer that is either calls or held to a schema: how it begins shows which. In the text
    that the schema holds no mark counts."""
    syntaxes = tools.syntaxes(offered)
    openings = {syntax.start: TOOL + mark for mark, syntax in syntaxes.items() if mark}
    openings |= dict.fromkeys((*tools.dropped, *tools.opening), OPENING)
    transitions: Transitions = {TEXT: [], OPENING: []}
    if form.is_harmony:
        openings = dict(harmony.OPENINGS)
        transitions[REASONING] = [("<|end|>", OPENING)]
    if form.answer_start:
        openings |= {form.answer_start: TEXT}
    calls = {
        TOOL + mark: replace(
            syntax, ends=tuple((end, OPENING) for end, _ in syntax.ends), then=OPENING
        )
        for mark, syntax in syntaxes.items()
    }
    if initial == REASONING and form.thinking is not None:
        transitions[REASONING] = [(form.thinking.end, OPENING)]
    else:
        initial = OPENING
    return OutputSyntax(transitions, initial, calls=calls, openings=openings, calls_stay=True)


def _without_tools(transitions: Transitions) -> Transitions:
    return {
        state: [edge for edge in edges if edge[1] != TOOL] for state, edges in transitions.items()
    }


def _with_tools(
    form: ToolFormat, transitions: Transitions, initial: str, tools: list[Any]
) -> OutputSyntax:
    syntaxes = form.syntaxes(tools)
    if any(state == TOOL for edges in transitions.values() for _, state in edges):
        # The library's own transitions say where calls begin.
        (syntax,) = syntaxes.values()
        return OutputSyntax(transitions, initial, calls={TOOL: syntax})
    for mark in syntaxes:
        for state in form.within if mark else ():
            if state == TEXT or state in transitions:
                transitions.setdefault(state, []).append((mark, TOOL + mark))
    text = transitions.setdefault(TEXT, [])
    text += [(mark, TEXT) for mark in form.dropped] + [(mark, OPENING) for mark in form.opening]
    if "" in syntaxes:
        transitions = _opening_before_text(transitions)
        initial = OPENING if initial == TEXT else initial
    calls = {TOOL + mark: syntax for mark, syntax in syntaxes.items()}
    return OutputSyntax(transitions, initial, calls=calls)


def _opening_before_text(transitions: Transitions) -> Transitions:
    """Transitions whose text begins where calls without a mark may begin."""
    thought = [
        (mark, OPENING if state == TEXT else state)
        for mark, state in transitions.get(REASONING, [])
    ]
    return transitions | ({REASONING: thought} if thought else {}) | {OPENING: []}
