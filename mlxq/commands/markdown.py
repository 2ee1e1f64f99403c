"""Markdown on a terminal while it is generated: text appears as it comes, and each block is
replaced by its rendering once it is whole."""

from __future__ import annotations

import re
import shutil
import sys

_BLANK = re.compile(r"\n[ ]*\n")
_FENCE = re.compile(r"^ {0,3}(```|~~~)", re.M)
_MARKED = re.compile(r"[*_`#|\[>]|^ *(?:[-+]|\d+[.)]) ", re.M)
"""Without any of these a block looks the same when it is rendered."""
_HTML = "<"
"""The renderer leaves tags out; a block that may have some is left as it came."""


class MarkdownText:
    """Writes an answer to standard output, which is a terminal."""

    def __init__(self) -> None:
        self._block = ""

    def add(self, text: str) -> None:
        """Show more of the answer."""
        text = text.expandtabs(4)
        self._write(text)
        self._block += text
        while (end := _end_of_block(self._block)) is not None:
            whole, rest = self._block[:end], self._block[end:]
            if self._erase(self._block, whole):
                self._render(whole.strip("\n"))
                self._write("\n" + rest.lstrip("\n"))
                rest = rest.lstrip("\n")
            self._block = rest

    def close(self) -> None:
        """The answer has ended: render its last block. Leaves the cursor behind the text."""
        block, self._block = self._block, ""
        if block.strip() and self._erase(block, block):
            self._render(block.strip("\n"), end="")

    def _erase(self, shown: str, whole: str) -> bool:
        """Take the text since the last rendering away, if rendering changes it and all of it is
        still on the screen."""
        width, height = shutil.get_terminal_size()
        prose = re.sub(r"`[^`]*`", "", _without_code(whole))
        if _MARKED.search(whole) is None or _HTML in prose:
            return False
        rows = rows_of(shown, width)
        if rows >= height:
            return False
        self._write(f"\r\x1b[{rows - 1}A\x1b[J" if rows > 1 else "\r\x1b[J")
        return True

    def _render(self, block: str, end: str = "\n") -> None:
        from rich.console import Console
        from rich.markdown import Markdown

        console = Console(file=sys.stdout, highlight=False)
        with console.capture() as captured:
            console.print(Markdown(block, hyperlinks=False))
        lines = [line.rstrip() for line in captured.get().split("\n")]
        self._write("\n".join(lines).strip("\n") + end)

    @staticmethod
    def _write(text: str) -> None:
        print(text, end="", flush=True)


def _end_of_block(text: str) -> int | None:
    """Where the first block of a text ends, behind its blank line; None while it goes on."""
    for blank in _BLANK.finditer(text):
        if text[: blank.start()].strip() and len(_FENCE.findall(text[: blank.start()])) % 2 == 0:
            return blank.end()
    return None


def _without_code(text: str) -> str:
    """A block without its fenced code."""
    return "" if _FENCE.match(text) else text


def rows_of(text: str, width: int) -> int:
    """How many rows of a terminal a text takes."""
    from rich.cells import cell_len

    return sum(max(1, -(-cell_len(line) // width)) for line in text.split("\n"))
