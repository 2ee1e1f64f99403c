"""``mlxq chat`` on a terminal: each request carries the whole conversation so far.

The conversation lives in this process alone.
"""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Any

from mlxq.chat_client import Answer
from mlxq.commands.screen import Screen, read
from mlxq.commands.user_message import image_part, user_message
from mlxq.errors import Problem
from mlxq.http_client import Client
from mlxq.output import clean, note

_HELP = """\
/image FILE     show the next question together with a picture
/model NAME     go on with another model
/system TEXT    what the model should be; without a text: nothing in particular
/new            forget the conversation
/quit           leave (as does Ctrl-D)
A line that ends with \\ goes on with the next one. \
Ctrl-C stops an answer; what came so far is kept."""
_FIRST, _NEXT = "> ", "… "


class Conversation:
    """A conversation with one model after another."""

    def __init__(self, client: Client, body: dict[str, Any], images: list[dict[str, Any]]) -> None:
        self._client, self._body, self._images = client, body, images
        self._messages: list[dict[str, Any]] = list(body["messages"])

    def run(self) -> None:
        """Until the user leaves."""
        # Gives input() its editing keys and the lines of this conversation on the arrow keys.
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401
        note(f"Talking to {self._body['model_id']}. /help tells what else there is; Ctrl-D leaves.")
        while (line := self._line()) is not None:
            try:
                if line.startswith("/"):
                    if not self._command(line):
                        return
                elif line.strip():
                    self._ask(line)
            except Problem as problem:
                note(f"mlxq: {problem}")

    def _line(self) -> str | None:
        """The user's next message; None at end of input. Ctrl-C discards what was typed."""
        lines: list[str] = []
        while True:
            try:
                lines.append(input(_NEXT if lines else _FIRST))
            except EOFError:
                print()
                return None
            except KeyboardInterrupt:
                print()
                lines = []
                continue
            except UnicodeDecodeError:
                note("mlxq: that was not UTF-8 text")
                lines = []
                continue
            if not lines[-1].endswith("\\"):
                return "\n".join(lines)
            lines[-1] = lines[-1][:-1]

    def _command(self, line: str) -> bool:
        """Carry out a /command; False when it ends the conversation."""
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word in ("/quit", "/exit"):
            return False
        if word == "/image" and rest:
            self._images.append(image_part(_path(rest)))
            note(f"{rest} goes with the next question.")
        elif word == "/model" and rest:
            self._body["model_id"] = rest
        elif word == "/system":
            others = [message for message in self._messages if message["role"] != "system"]
            self._messages = [{"role": "system", "content": rest}, *others] if rest else others
        elif word == "/new":
            self._messages = [message for message in self._messages if message["role"] == "system"]
            self._images = []
        else:
            print(_HELP)
        return True

    def _ask(self, text: str) -> None:
        """One question and its answer; both stay in the conversation unless there was no answer."""
        question = user_message(text, self._images)
        body = self._body | {"messages": [*self._messages, question]}
        screen = Screen()
        answer = Answer(
            self._client, body, lost=lambda: screen.status("the connection was lost; coming back")
        )
        try:
            read(answer, screen)
        except KeyboardInterrupt:
            screen.end_line()
        if "error" in answer.end:
            note(f"mlxq: {clean(answer.end['error'])}")
        if answer.text:
            self._messages += [question, {"role": "assistant", "content": answer.text}]
            self._images = []


def _path(text: str) -> Path:
    """A file as it was typed or dropped onto the terminal, which quotes it."""
    with contextlib.suppress(ValueError):
        words = shlex.split(text)
        if len(words) == 1:
            text = words[0]
    with contextlib.suppress(RuntimeError):  # ~ and the name of nobody here
        return Path(text).expanduser()
    return Path(text)
