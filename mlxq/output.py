"""What commands print: JSON, tables, notes on standard error, text without control characters.

Knows nothing of the service.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Bar = Callable[[float, str], None]
"""Shows how far something is: percent, and what stands behind it."""

_KEPT = "\n\t"
_CONTROL = {code: None for code in [*range(32), *range(127, 160)] if chr(code) not in _KEPT}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_WIDE = 400


def clean(text: object) -> str:
    """A text without control characters, which could move the cursor or ring a bell."""
    return str(text).translate(_CONTROL)


def show_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def show_reply(reply: Any, sentence: str, as_json: bool) -> None:
    """Print what a command did: the reply as JSON, or the sentence."""
    if as_json:
        show_json(reply)
    else:
        print(sentence)


def note(text: str) -> None:
    """Print a line on standard error."""
    print(clean(text), file=sys.stderr, flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under their headings; a heading that ends with > stands above numbers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(
            column.rstrip(">"), justify="right" if column.endswith(">") else "left", overflow="fold"
        )
    for row in rows:
        shown.add_row(*(Text(clean(cell)) for cell in row))
    # A pipe has no width, and programs read whole lines.
    Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False).print(shown)


@contextlib.contextmanager
def bar(label: str) -> Iterator[Bar]:
    """A progress bar on a terminal; elsewhere nothing is shown."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[words]}"),
    )
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task(label, total=100.0, words="")
        yield lambda percent, words: progress.update(task, completed=percent, words=words)


def size(count: float) -> str:
    """Bytes for people."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return (
        f"{count:.0f} {_UNITS[unit]}"
        if unit == 0 or count >= 100
        else f"{count:.1f} {_UNITS[unit]}"
    )


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def plural(count: int, noun: str, many: str = "") -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {many or noun + 's'}"
