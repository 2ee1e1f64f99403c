"""The decoder of scripted answers (``echo_script``): marks of thinking and of tool calls are those
of most models, or of the format that the script names.

In a file of its own because mlx_lm's state machine imports MLX, and most tests do without.
"""

from __future__ import annotations

from wire.messages import ChatJob
from worker.backends.echo_script import FIRST, format_name
from worker.backends.text.formats import harmony, json_calls
from worker.backends.text.formats.chat_format import ChatFormat, Thinking, marked
from worker.backends.text.output_parser import OutputParser
from worker.backends.text.output_syntax import syntax_of
from worker.sequence import Output

_THINKING = Thinking("<think>", "</think>")
_FORMATS: dict[str | None, ChatFormat] = {
    None: ChatFormat(thinking=_THINKING, tools=json_calls.HERMES, transitions=marked(_THINKING)),
    "harmony": ChatFormat.harmony(harmony.FORMAT),
    "mistral": ChatFormat(tools=json_calls.MISTRAL),
    "llama": ChatFormat(tools=json_calls.UNMARKED),
}


class ScriptDecoder:
    """The decoder of one job's script."""

    def __init__(self, job: ChatJob) -> None:
        syntax = syntax_of(_FORMATS[format_name(job)], job)
        self._parser = OutputParser(syntax, job.sampling.stop, job.job_id)

    @property
    def stopped(self) -> bool:
        return self._parser.stopped

    @property
    def stop_text(self) -> str | None:
        return self._parser.stop_text

    def add(self, token: int) -> Output:
        return self._parser.add(chr(token - FIRST))

    def finish(self) -> Output:
        return self._parser.finish()
