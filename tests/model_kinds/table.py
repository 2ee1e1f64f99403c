"""The table in docs/models.md.

``python -m tests.model_kinds.table`` runs every kind and writes it, ``… table KIND …`` only the rows
of these kinds.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable

from tests.model_kinds.expected import (
    NOT_QUANTISED,
    NOT_RUN,
    ONE_PICTURE,
    QUANTISED_IN_PART,
    REFUSED,
    REUSES_NOTHING,
    TAKES_TURNS,
)
from tests.model_kinds.kinds import KINDS, SEES, VISION
from tests.model_kinds.rows import OF_VISION, REUSE, Row, rows_apart
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "models.md"
HEAD = "| model type | cache | loads | batches | reuses | quantises | sees | notes |\n"
NOTES = (TAKES_TURNS, REUSES_NOTHING, ONE_PICTURE, NOT_QUANTISED, QUANTISED_IN_PART)
RULE = "|---|---|---|---|---|---|---|---|\n"


def line_of(row: Row) -> str:
    """One kind's line of the table."""
    loads = not row.refused
    failed = [name for name in row.failures if row.failed(name)]
    sees = row.kind in VISION
    columns = [
        _name(row.kind),
        row.cache,
        _word(loads),
        _word(loads and row.batch_width > 1),
        _word(loads and row.kind not in REUSES_NOTHING and not row.failed(*REUSE)),
        _word(loads and row.quantises and not row.failed("kv 8", "kv 4")),
        _word(loads and not row.failed(*OF_VISION)) if sees else "",
        "; ".join(
            [
                *filter(None, [notes.get(row.kind) for notes in NOTES]),
                *filter(None, [row.refused]),
                *(f"fails: {name}" for name in failed),
            ]
        ),
    ]
    return "| " + " | ".join(columns) + " |\n"


def not_run_lines() -> str:
    """The kinds that aren't run, and why."""
    return "".join(f"| {_name(kind)} | {why} |\n" for kind, why in sorted(NOT_RUN.items()))


def refused_lines() -> str:
    """The types that mlx_vlm has for other tasks than chats, by what they do."""
    return "".join(
        f"| {why} | {', '.join(f'`{name}`' for name in names.split())} |\n"
        for why, names in REFUSED.items()
    )


def lines_in(page: str) -> dict[str, str]:
    """The lines of the table in a document, by what is in their first column."""
    table = itertools.takewhile(lambda line: line.startswith("|"), _behind_head(page))
    return {_first(line): line for line in table}


def with_lines(page: str, rows: Iterable[Row]) -> str:
    """The document with these rows in its table."""
    lines = {**lines_in(page), **{_first(line): line for line in map(line_of, rows)}}
    body = "".join(lines[name] for name in sorted(lines, key=str.lower))
    rest = itertools.dropwhile(lambda line: line.startswith("|"), _behind_head(page))
    return page.partition(HEAD + RULE)[0] + HEAD + RULE + body + "".join(rest)


def _behind_head(page: str) -> list[str]:
    return page.partition(HEAD + RULE)[2].splitlines(keepends=True)


def _name(kind: str) -> str:
    return f"`{kind.removesuffix(SEES)}`" + (" with its tower" if kind.endswith(SEES) else "")


def _first(line: str) -> str:
    return line.split(" | ")[0]


def _word(holds: bool) -> str:
    return "yes" if holds else "no"


if __name__ == "__main__":
    for row in rows_apart(sys.argv[1:] or KINDS):
        print(line_of(row), end="", flush=True)
        for name, failures in row.failures.items():
            print(*(f"    {name}: {failure}\n" for failure in failures), sep="", end="", flush=True)
        PAGE.write_text(with_lines(PAGE.read_text(encoding="utf-8"), [row]), encoding="utf-8")
