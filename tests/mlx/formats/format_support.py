"""What a model of a format says, in pieces of any length."""

from __future__ import annotations

import json
from typing import Any

from wire.messages import ChatJob, Message, OutputFormat, Sampling, ToolCall, whole_calls
from worker.backends.text.formats.chat_format import ChatFormat, Thinking, marked
from worker.backends.text.formats.syntax import ToolFormat
from worker.backends.text.output_parser import OutputParser
from worker.backends.text.output_syntax import syntax_of
from worker.text_decoder import Output

SIZES = (1, 7, 100_000)
Call = tuple[str, dict[str, Any]]
TRICKY: dict[str, Any] = {
    "text": 'She said "hi" {and [left]}\nC:\\new\\',
    "count": 3,
    "nested": {"list": [1, {"a": "}"}], "flag": True},
}
"""Arguments with quotes, braces, line breaks and a backslash before the end of a string."""


def tool(name: str, **properties: str) -> dict[str, Any]:
    """A tool with parameters of these types."""
    types = {key: {"type": kind} for key, kind in properties.items()}
    return {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": types}},
    }


TOOLS = (
    tool("write", text="string", count="integer", nested="object"),
    tool("clock", zone="string"),
)


def chat(*, tools: tuple[dict[str, Any], ...] = TOOLS, stop: tuple[str, ...] = ()) -> ChatJob:
    return ChatJob(
        job_id="job",
        owner="everyone",
        model_id="m",
        model_revision="r",
        messages=(Message(role="user", content="What time is it?"),),
        sampling=Sampling(seed=1, stop=stop),
        form=OutputFormat(separate=True, tools=tools),
        submitted_ms=0,
    )


def of(tools: ToolFormat, thinking: tuple[str, str] | None = None) -> ChatFormat:
    marks = None if thinking is None else Thinking(*thinking)
    return ChatFormat(thinking=marks, tools=tools, transitions=marked(marks))


def parser_of(
    form: ChatFormat, job: ChatJob | None = None, *, call_pieces: bool = False, **options: bool
) -> OutputParser:
    job = chat() if job is None else job
    return OutputParser(
        syntax_of(form, job, **options), job.sampling.stop, job.job_id, call_pieces=call_pieces
    )


def said(form: ChatFormat, text: str, job: ChatJob | None = None, **options: bool) -> Output:
    """What a reader gets of an answer: the same however it comes in pieces, also if a worker dies
    in between. Calls that are told in pieces are the same, unless they turn out unreadable."""
    told = {size: _in_pieces(parser_of(form, job, **options), text, size) for size in SIZES}
    assert told[1] == told[7] == told[SIZES[-1]]
    for size in SIZES:
        parser = parser_of(form, job, call_pieces=True, **options)
        output = _in_pieces(parser, text, size)
        if not parser.has_open_call:
            assert joined(output) == joined(told[1])
    return told[1]


def joined(output: Output) -> tuple[str, str, tuple[ToolCall, ...]]:
    return output.text, output.reasoning, whole_calls(output.tool_calls)


def _in_pieces(parser: OutputParser, text: str, size: int) -> Output:
    pieces = [parser.add(text[i : i + size]) for i in range(0, len(text), size)]
    return Output.together([*pieces, parser.finish()])


def calls_of(output: Output) -> list[Call]:
    return [(call.name, json.loads(call.arguments)) for call in output.tool_calls]
