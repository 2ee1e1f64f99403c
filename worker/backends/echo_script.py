"""Answers whose every character is known, for tests of what is told apart: thinking, calls of
tools, stop texts.

The echo backend says word for word what a prompt that begins with ``SAY`` asks for, a character a
token, so that every mark lies across tokens. Marks are those of most models.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wire.messages import ChatJob
from worker.sequence import Output, TextDecoder

if TYPE_CHECKING:
    from worker.backends.text.output_parser import OutputParser

SAY = "please say: "
FIRST = 1 << 16
"""The token of a character is this plus its code point; the one at FIRST ends the answer."""


def script_of(job: ChatJob) -> str | None:
    """What a chat asks to be told, if it does."""
    text = job.messages[-1].text()
    return text.removeprefix(SAY) if text.startswith(SAY) else None


def token_at(script: str, position: int) -> int:
    return FIRST + ord(script[position]) if position < len(script) else FIRST


def decoder_for(job: ChatJob) -> TextDecoder:
    """The decoder of a script."""
    # mlx_lm's state machine brings MLX with it, and most tests do without.
    from worker.backends.text.output_parser import (
        REASONING,
        TEXT,
        TOOL,
        OutputParser,
        OutputSyntax,
        Transitions,
    )

    transitions: Transitions = {}
    if job.form.separate:
        transitions = {TEXT: [("<think>", REASONING)], REASONING: [("</think>", TEXT)]}
    if job.form.separate and job.form.tools:
        transitions[TEXT].append(("<tool_call>", TOOL))
        transitions[TOOL] = [("</tool_call>", TEXT)]
    style = OutputSyntax(transitions, tool_start="<tool_call>", parse=json.loads)
    return _ScriptDecoder(OutputParser(style, job.sampling.stop, job.job_id))


class _ScriptDecoder:
    def __init__(self, channels: OutputParser) -> None:
        self._channels = channels

    @property
    def stopped(self) -> bool:
        return self._channels.stopped

    @property
    def stop_text(self) -> str | None:
        return self._channels.stop_text

    def add(self, token: int) -> Output:
        return self._channels.add(chr(token - FIRST))

    def finish(self) -> Output:
        return self._channels.finish()
