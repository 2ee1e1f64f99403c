"""The grammar of an answer that is either calls of tools or held to a schema.

Its beginning shows which: a call begins with the mark of the model's format. Knows no matcher.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from wire.messages import OutputFormat
from worker.backends.text.call_grammars.json_calls import repeated
from worker.backends.text.call_grammars.writer import BLANKS, Writer, tools_of
from worker.backends.text.formats import harmony
from worker.backends.text.formats.chat_format import ChatFormat
from worker.backends.text.formats.syntax import ToolFormat
from worker.backends.text.output_syntax import call_format
from worker.errors import WorkerError, invalid_schema


def either_grammar(
    form: OutputFormat,
    marks: ChatFormat,
    special: Mapping[str, int],
    ends: Collection[int],
    *,
    thinks: bool,
) -> str:
    """The grammar, in Lark's syntax with llguidance's additions.

    ``special`` are the model's special tokens by their texts, ``ends`` those that end an answer.
    ``thinks``: the answer stands behind thinking, as a rule with blanks between. Raises WorkerError
    for a schema of calls that is none, and for a model without a format of calls.
    """
    tools = call_format(marks, form)
    if tools is None:
        raise WorkerError("unsupported", "This model has no way to call tools.", param="tools")
    try:
        writer = Writer(tools_of(form.call_schema or ""), special, ends)
    except (ValueError, LookupError, TypeError):
        # The job was not written by this service.
        raise invalid_schema("it is not the schema of a call") from None
    build = tools.grammar
    calls = build(writer) if build is not None else _marked(writer, tools, form)
    answer = f"{writer.text(marks.answer_start)} {writer.rule(f'%json {form.json_schema}')}"
    ways = writer.any_of((answer, calls))
    if marks.is_harmony:
        thinking = f"{writer.text(harmony.ANALYSIS)} {writer.until(harmony.END_OF_THINKING)}"
        return writer.grammar(f"({thinking})? {ways}")
    return writer.grammar(f"{BLANKS} {ways}" if thinks else ways)


def _marked(writer: Writer, tools: ToolFormat, form: OutputFormat) -> str:
    """Calls of a format whose grammar isn't known: whatever stands behind their mark."""
    ways = []
    for syntax in tools.syntaxes(list(form.tools)).values():
        if not syntax.start:
            raise WorkerError(
                "unsupported",
                "This model marks no calls: an answer can't be held to a schema beside them.",
                param="tools",
            )
        ends = [mark for mark, _ in syntax.ends] or [""]
        bodies = " | ".join(writer.anything_until(mark) for mark in ends)
        ways.append(repeated(writer.rule(f"{writer.text(syntax.start)} ({bodies})")))
    return writer.any_of(ways)
