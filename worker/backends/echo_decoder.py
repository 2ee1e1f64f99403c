"""The decoder of scripted answers (``echo_script``): marks of thinking and of tool calls are those
of most models, or of the format that the script names.

In a file of its own because mlx_lm's state machine imports MLX, and most tests do without.
"""

from __future__ import annotations

from collections.abc import Sequence

from wire.messages import ChatJob
from worker.backends.echo_script import FIRST, format_name
from worker.backends.text.decoder import ReasoningCounter, StreamingDecoder, parser_of
from worker.backends.text.formats import harmony, json_calls
from worker.backends.text.formats.chat_format import ChatFormat, Thinking, marked
from worker.backends.text.output_parser import OutputParser
from worker.backends.text.output_syntax import syntax_of, thinking_syntax_of

_THINKING = Thinking("<think>", "</think>")
_FORMATS: dict[str | None, ChatFormat] = {
    None: ChatFormat(thinking=_THINKING, tools=json_calls.HERMES, transitions=marked(_THINKING)),
    "harmony": ChatFormat.harmony(harmony.FORMAT),
    "mistral": ChatFormat(tools=json_calls.MISTRAL),
    "llama": ChatFormat(tools=json_calls.UNMARKED),
}


def script_decoder(job: ChatJob) -> StreamingDecoder:
    """The decoder of one job's script."""
    form, goes_on = _FORMATS[format_name(job)], job.form.continue_final
    parser = parser_of(syntax_of(form, job, goes_on=goes_on), job)
    watching = OutputParser(thinking_syntax_of(form, job, goes_on=goes_on), (), job.job_id)
    return StreamingDecoder(_Characters(), parser, ReasoningCounter(watching))


class _Characters:
    """The detokeniser of a script: a character a token."""

    def add(self, token: int) -> str:
        return chr(token - FIRST)

    def finish(self) -> str:
        return ""

    def bytes_of(self, token: int, before: Sequence[int], *, of_prompt: bool = False) -> bytes:  # noqa: ARG002
        return bytes([token % 256]) if of_prompt else chr(token - FIRST).encode("utf-8", "replace")
