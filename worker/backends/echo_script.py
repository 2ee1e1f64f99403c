"""Answers whose every character is known, for tests of what answers are split into: thinking, tool
calls, stop texts.

The echo backend answers a prompt that begins with ``SAY`` with the rest of the prompt, a character
a token, so that every marker spans tokens.
"""

from __future__ import annotations

from wire.messages import ChatJob

SAY = "please say: "
FIRST = 1 << 16
"""The token of a character is this plus its code point; the one at FIRST ends the answer."""


def script_of(job: ChatJob) -> str | None:
    """The answer that a chat prescribes, if it does."""
    text = job.messages[-1].text()
    return text.removeprefix(SAY) if text.startswith(SAY) else None


def token_at(script: str, position: int) -> int:
    return FIRST + ord(script[position]) if position < len(script) else FIRST
