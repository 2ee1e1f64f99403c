"""An answer on the terminal while it is generated, and the status behind it."""

from __future__ import annotations

import os
import sys
from typing import Any

from mlxq.chat_client import Answer, Frame, stopped_by_ctrl_c
from mlxq.commands.markdown import MarkdownText
from mlxq.output import clean, note

_SAVE_CURSOR, _RESTORE_AND_CLEAR = "\x1b7", "\x1b8\x1b[J"


class Screen:
    """A streamed answer: text on standard output, its progress on standard error."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        # A terminal acts on control characters; a file gets the text unchanged.
        self._terminal = sys.stdout.isatty()
        self._shows_status = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not quiet
        self._status = ""
        self._at_start = True
        renders = self._terminal and not quiet and os.environ.get("TERM") != "dumb"
        self._markdown = MarkdownText() if renders else None

    def show(self, frame: Frame) -> None:
        if "progress" in frame:
            self.status(_progress_text(frame["progress"]))
        if "warning" in frame:
            self.status("")
            note(f"warning: {frame['warning']}")
        text = str(frame["text"])
        if text and not self._quiet:
            self.status("")
            if self._markdown is not None:
                self._markdown.add(clean(text))
            else:
                print(clean(text) if self._terminal else text, end="", flush=True)
            self._at_start = text.endswith("\n")

    def status(self, text: str) -> None:
        """Replace the status that stands after the answer so far; an empty text erases it."""
        if self._shows_status and text != self._status:
            # The terminal remembers where the answer ends while a status stands after it.
            erase = _RESTORE_AND_CLEAR if self._status else ""
            shown = f"{erase}{_SAVE_CURSOR}{clean(text)}" if text else erase
            print(shown, end="", file=sys.stderr, flush=True)
            self._status = text

    def end_line(self) -> None:
        self.status("")
        if self._markdown is not None:
            self._markdown.close()
        if not self._quiet and not self._at_start:
            print(flush=True)
            self._at_start = True


def _progress_text(progress: dict[str, Any]) -> str:
    state = progress.get("state")
    if state == "queued":
        return f"waiting: place {progress.get('position')} in the queue"
    if state == "suspended":
        return "waiting: the queue is suspended"
    if state == "no_worker":
        return "waiting: no worker answers"
    if state == "loading":
        return "loading the model"
    return f"reading the prompt: {progress.get('done', 0)} of {progress.get('total', 0)} tokens"


def read(answer: Answer, screen: Screen) -> None:
    """Show an answer to its end; Ctrl-C stops the chat and keeps the text so far."""
    with stopped_by_ctrl_c(answer, lambda: screen.status("stopping; Ctrl-C again leaves at once")):
        for frame in answer.frames():
            screen.show(frame)
    screen.end_line()
