"""Answers whose every character is known, for tests of what answers are split into: thinking, tool
calls, stop texts.

The echo backend answers a prompt that begins with ``SAY`` with the rest of the prompt, a character
a token, so that every marker spans tokens. With ``say_in`` it does so as a model of another format.
"""

from __future__ import annotations

import re

from wire.messages import ChatJob

SAY = "please say: "
FIRST = 1 << 16
"""The token of a character is this plus its code point; the one at FIRST ends the answer."""
_SAY_IN = re.compile(r"please say in (\w+): ")


def say_in(name: str) -> str:
    """The beginning of a prompt that is answered in the format of this name."""
    return f"please say in {name}: "


def script_of(job: ChatJob) -> str | None:
    """The answer that a chat prescribes, if it does."""
    text = job.messages[-1].text()
    if text.startswith(SAY):
        return text.removeprefix(SAY)
    named = _SAY_IN.match(text)
    return None if named is None else text[named.end() :]


def format_name(job: ChatJob) -> str | None:
    """The name of the format that a prescribed answer is in, if it isn't the usual one."""
    named = _SAY_IN.match(job.messages[-1].text())
    return None if named is None else named[1]


def token_at(script: str, position: int) -> int:
    return FIRST + ord(script[position]) if position < len(script) else FIRST
