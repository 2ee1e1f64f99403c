"""Answers whose every character is known, for tests of what answers are split into: thinking, tool
calls, stop texts.

The echo backend answers a prompt that begins with ``SAY`` with the rest of the prompt, a character
a token, so that every marker spans tokens. With ``say_in`` it does so as a model of another format.
"""

from __future__ import annotations

import re
import sys

from wire.messages import ChatJob

SAY = "please say: "
FIRST = 1 << 16
"""The token of a character is this plus its code point; the one at FIRST ends the answer."""
VOCABULARY = FIRST + sys.maxunicode + 1
"""How many token ids there are."""
_SAY_IN = re.compile(r"please say in (\w+): ")


def say_in(name: str) -> str:
    """The beginning of a prompt that is answered in the format of this name."""
    return f"please say in {name}: "


def script_of(job: ChatJob) -> str | None:
    """The answer that a chat prescribes, if it does."""
    text, said = _asked(job)
    if text.startswith(SAY):
        return text.removeprefix(SAY).removeprefix(said)
    named = _SAY_IN.match(text)
    return None if named is None else text[named.end() :].removeprefix(said)


def format_name(job: ChatJob) -> str | None:
    """The name of the format that a prescribed answer is in, if it isn't the usual one."""
    named = _SAY_IN.match(_asked(job)[0])
    return None if named is None else named[1]


def _asked(job: ChatJob) -> tuple[str, str]:
    """What prescribes the answer, and what has been said of it: the rest follows."""
    *_, last = job.messages
    if not job.form.continue_final or len(job.messages) == 1:
        return last.text(), ""
    return job.messages[-2].text(), last.text()


def token_at(script: str, position: int, *, ends: bool = True) -> int:
    """The token at a position of the answer; one that mustn't end yet goes on in full stops."""
    if position < len(script):
        return FIRST + ord(script[position])
    return FIRST if ends else FIRST + ord(".")
