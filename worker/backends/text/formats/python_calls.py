"""How calls of the notations that are no JSON are written: Python's, and Gemma's."""

from __future__ import annotations

from worker.backends.text.formats.argument_reader import Notation
from worker.backends.text.formats.syntax import PYTHON_STRINGS, Region

PYTHON = Notation(
    head=r"[\s\[,]*(?P<name>[A-Za-z_][\w.]*)\s*\(",
    key=r"[\s,]*(?P<name>[A-Za-z_]\w*)\s*=",
    strings=PYTHON_STRINGS,
    before="[",
    opens="(",
    closes=")]",
)


def gemma(quote: str) -> Notation:
    """Gemma's notation, with what stands around its strings."""
    return Notation(
        head=r"(?:(?!call:)[\s\S])*call:(?P<name>[\w-]+)\{",
        key=r",?(?P<name>\w+):",
        strings=(Region(quote, quote),),
        before="call:",
        opens="{",
        closes="}",
    )
