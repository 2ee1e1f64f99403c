"""The file of reports: a section for each model and BLAS, in it a table for each part, each
replaced by its next one.

A table begins with a line ``### title``. What is above a section's first table is the last run's.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

TITLE = "# Benchmarks"
COLUMNS = 100


def write_section(file: Path, title: str, text: str) -> None:
    """Put a section into the file. Of an earlier one with this title, the tables stay that the
    new one has not."""
    head, sections = _split(file.read_text("utf-8") if file.exists() else TITLE, "## ")
    above, tables = _split(_wrapped(text), "### ")
    _, before = _split(sections.get(title, ""), "### ")
    sections[title] = _join(above, before | tables, "### ")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_join(head, sections, "## ") + "\n", "utf-8")


def _wrapped(text: str) -> str:
    """The text in lines of 100 columns; rows of tables stay as they are."""
    return "\n".join(
        line
        if len(line) <= COLUMNS or line.startswith("|")
        else textwrap.fill(
            line,
            COLUMNS,
            subsequent_indent="  " if line.startswith("- ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.split("\n")
    )


def _split(text: str, mark: str) -> tuple[str, dict[str, str]]:
    """What is above the first heading, and what is below each."""
    head, *parts = f"\n{text}".split(f"\n{mark}")
    below = (part.partition("\n") for part in parts)
    return head.strip(), {title: body.strip() for title, _, body in below}


def _join(head: str, parts: dict[str, str], mark: str) -> str:
    return "\n\n".join([head, *(f"{mark}{title}\n\n{body}" for title, body in parts.items())])
