"""An answer on the terminal while it is generated, and the status behind it."""

from __future__ import annotations

import os
import sys
from typing import Any

from mlxq.chat_client import Answer, Frame, stopped_by_ctrl_c
from mlxq.commands.markdown import MarkdownText
from mlxq.output import clean, note

_SAVE_CURSOR, _RESTORE_AND_CLEAR = "\x1b7", "\x1b8\x1b[J"
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


class Screen:
    """A streamed answer: text on standard output, its progress and its thinking on standard
    error."""

    def __init__(self, quiet: bool = False, thinking: bool | None = None) -> None:
        """``thinking``: whether it is shown; None: on a terminal alone."""
        self._quiet = quiet
        # A terminal acts on control characters; a file gets the text unchanged.
        self._terminal = sys.stdout.isatty()
        dumb = os.environ.get("TERM") == "dumb"
        self._dims = sys.stderr.isatty() and not dumb
        self._shows_status = self._dims and not quiet
        self._status = ""
        self._at_start = True
        on_screen = self._terminal and sys.stderr.isatty()
        self._shows_thinking = not quiet and (on_screen if thinking is None else thinking)
        self._in_thought = False
        renders = self._terminal and not quiet and not dumb
        self._markdown = MarkdownText() if renders else None

    def show(self, frame: Frame) -> None:
        if "progress" in frame:
            self.status(_progress_text(frame["progress"]))
        if "warning" in frame:
            self.status("")
            note(f"warning: {frame['warning']}")
        if thought := frame.get("reasoning"):
            self._think(str(thought))
        text = str(frame["text"])
        if text and not self._quiet:
            self._end_thought()
            if self._markdown is not None:
                self._markdown.add(clean(text))
            else:
                print(clean(text) if self._terminal else text, end="", flush=True)
            self._at_start = text.endswith("\n")

    def _think(self, text: str) -> None:
        """Show more of the thinking, or that there is some."""
        if not self._shows_thinking:
            self.status("thinking")
            return
        self.status("")
        begin = _DIM if self._dims and not self._in_thought else ""
        print(begin + (clean(text) if sys.stderr.isatty() else text), end="", file=sys.stderr)
        sys.stderr.flush()
        self._in_thought = True

    def _end_thought(self) -> None:
        """Leave an empty line between the thinking and the answer."""
        self.status("")
        if self._in_thought:
            print(_PLAIN if self._dims else "", end="\n\n", file=sys.stderr, flush=True)
            self._in_thought = False

    def status(self, text: str) -> None:
        """Replace the status that stands after the answer so far; an empty text erases it."""
        if self._shows_status and text != self._status:
            # The terminal remembers where the answer ends while a status stands after it.
            erase = _RESTORE_AND_CLEAR if self._status else ""
            shown = f"{erase}{_SAVE_CURSOR}{clean(text)}" if text else erase
            print(shown, end="", file=sys.stderr, flush=True)
            self._status = text

    def end_line(self) -> None:
        self._end_thought()
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
