"""``mlxq chat`` on a terminal: each request carries the whole conversation so far.

The conversation lives in this process alone.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlxq.chat_client import Answer
from mlxq.commands.screen import Screen, read
from mlxq.commands.user_message import image_part, user_message
from mlxq.errors import Problem
from mlxq.http_client import Client
from mlxq.model_rows import Row, close_to, find, rows_of
from mlxq.output import clean, note

_HELP = """\
/image FILE     show the next question together with a picture
/model NAME     go on with another model; without a name: which one it is
/system TEXT    set the system prompt; without a text: remove it
/effort LEVEL   how much the model thinks; without a level: which there are
/think          show what it thinks, or hide it again
/new            begin a new conversation
/help           these lines
/bye            leave (as do /quit and Ctrl-D)
A line that ends with \\ goes on with the next one. \
Ctrl-C stops an answer; what came so far is kept."""
_FIRST, _NEXT = "> ", "… "


class Conversation:
    """A conversation with one model after another."""

    def __init__(
        self,
        client: Client,
        body: dict[str, Any],
        images: list[dict[str, Any]],
        model: Row,
        thinking: bool | None = None,
    ) -> None:
        """``model`` is the body's model; ``thinking``: whether it is shown, None: as a screen
        does."""
        self._client, self._body, self._images = client, body, images
        self._row, self._thinking = model, thinking
        self._messages: list[dict[str, Any]] = list(body["messages"])

    @property
    def _model(self) -> str:
        return str(self._row["name"])

    def run(self) -> None:
        """Until the user leaves."""
        # Gives input() its editing keys and the lines of this conversation on the arrow keys.
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401
        note(f"Talking to {self._model}. /help tells what else there is; /bye leaves.")
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
        if word in ("/bye", "/quit", "/exit"):
            return False
        known: dict[str, Callable[[str], str]] = {
            "/image": self._image,
            "/model": self._other_model,
            "/system": self._system,
            "/effort": self._effort,
            "/think": self._think,
            "/new": self._new,
            "/help": self._help,
        }
        if word in known:
            print(clean(known[word](rest)))
        else:
            guess = close_to(word, known)
            print(clean(f"There is no command {word}{guess}; /help lists them."))
        return True

    def _help(self, _: str) -> str:
        return _HELP

    def _image(self, rest: str) -> str:
        if not rest:
            return "Name a picture: /image FILE"
        self._images.append(image_part(_path(rest)))
        return f"{rest} goes with the next question."

    def _other_model(self, rest: str) -> str:
        if not rest:
            names = ", ".join(row["name"] for row in rows_of(self._client) if row["downloaded"])
            return f"Talking to {self._model}. There are: {names}."
        self._row = find(self._client, rest)
        self._body["model_id"] = self._row["id"]
        if not self._row.get("reasoning_efforts"):
            self._body.pop("reasoning_effort", None)
        return f"Talking to {self._model} now."

    def _effort(self, rest: str) -> str:
        levels = self._row.get("reasoning_efforts") or ()
        if not levels:
            return f"{self._model} has no say in how much it thinks."
        if rest in levels:
            self._body["reasoning_effort"] = rest
            return f"The effort is {rest} now."
        now = self._body.get("reasoning_effort", "the model's own")
        return f"The effort is {now}. There are: {', '.join(levels)}."

    def _think(self, _: str) -> str:
        self._thinking = self._thinking is False
        return "Thinking is shown now." if self._thinking else "Thinking is hidden now."

    def _system(self, rest: str) -> str:
        others = [message for message in self._messages if message["role"] != "system"]
        self._messages = [{"role": "system", "content": rest}, *others] if rest else others
        return "The system prompt is set." if rest else "There is no system prompt now."

    def _new(self, _: str) -> str:
        self._messages = [message for message in self._messages if message["role"] == "system"]
        self._images = []
        return "This is a new conversation."

    def _ask(self, text: str) -> None:
        """One question and its answer; both stay in the conversation unless there was no answer."""
        question = user_message(text, self._images)
        body = self._body | {"messages": [*self._messages, question]}
        screen = Screen(thinking=self._thinking)
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
