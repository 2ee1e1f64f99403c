"""The decoder of scripted answers (``echo_script``): marks of thinking and of tool calls are those
of most models.

In a file of its own because mlx_lm's state machine imports MLX, and most tests do without.
"""

from __future__ import annotations

import json

from wire.messages import ChatJob
from worker.backends.echo_script import FIRST
from worker.backends.text.output_parser import (
    REASONING,
    TEXT,
    TOOL,
    OutputParser,
    OutputSyntax,
    Transitions,
)
from worker.sequence import Output


class ScriptDecoder:
    """The decoder of one job's script."""

    def __init__(self, job: ChatJob) -> None:
        syntax = OutputSyntax(_transitions(job), tool_start="<tool_call>", parse=json.loads)
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


def _transitions(job: ChatJob) -> Transitions:
    if not job.form.separate:
        return {}
    transitions: Transitions = {TEXT: [("<think>", REASONING)], REASONING: [("</think>", TEXT)]}
    if job.form.tools:
        transitions[TEXT].append(("<tool_call>", TOOL))
        transitions[TOOL] = [("</tool_call>", TEXT)]
    return transitions
