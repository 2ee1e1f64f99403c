"""Answers whose every character is known, for tests of what answers are split into: thinking, tool
calls, stop texts.

Where a line of a prompt begins with ``SAY``, the echo backend answers with what follows it, a
character a token, so that every marker spans tokens. With ``say_in`` it does so as a model of
another format.
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
_BEGINNING = "please say"
_SAY = re.compile(rf"{_BEGINNING}(?: in (\w+))?: ")


def say_in(name: str) -> str:
    """The beginning of a prompt that is answered in the format of this name."""
    return f"please say in {name}: "


def script_of(job: ChatJob) -> str | None:
    """The answer that a chat prescribes, if it does."""
    text, said = _asked(job)
    found = _found(text)
    return None if found is None else text[found.end() :].removeprefix(said)


def format_name(job: ChatJob) -> str | None:
    """The name of the format that a prescribed answer is in, if it isn't the usual one."""
    found = _found(_asked(job)[0])
    return None if found is None else found[1]


def _found(text: str) -> re.Match[str] | None:
    """Where a line begins that prescribes the rest: agents put texts of their own before it."""
    if text.startswith(_BEGINNING):
        return _SAY.match(text)
    line = text.find(f"\n{_BEGINNING}")
    return None if line < 0 else _SAY.match(text, line + 1)


def _asked(job: ChatJob) -> tuple[str, str]:
    """What prescribes the answer, and what has been said of it: the rest follows."""
    *before, last = job.messages
    if job.form.continue_final and before:
        return before[-1].text(), last.text()
    # Some agents end a conversation with a system message.
    turns = [message for message in job.messages if message.role != "system"]
    return (turns or [last])[-1].text(), ""


def token_at(script: str, position: int, *, ends: bool = True) -> int:
    """The token at a position of the answer; one that mustn't end yet goes on in full stops."""
    if position < len(script):
        return FIRST + ord(script[position])
    return FIRST if ends else FIRST + ord(".")
