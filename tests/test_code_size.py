"""How long files and functions may be, how many files a folder may hold, and how files are named.

The sets of exceptions hold exactly what breaks a rule: an entry that is no longer needed fails too.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.source_files import PYTHON, functions, sources
from tests.support.paths import ROOT

MOST_FILES, MOST_LINES, MOST_FUNCTION_LINES, MOST_COMPLEXITY = 15, 300, 40, 10
MOST_COLUMNS = 100
FULL_FOLDERS: set[str] = set()
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
VAGUE_NAMES = {"utils", "util", "helpers", "manager", "common", "misc", "parts"}


def test_no_folder_holds_too_many_files() -> None:
    counts: dict[Path, int] = {}
    for path in sources(*PYTHON):
        counts[path.parent] = counts.get(path.parent, 0) + 1
    assert {str(folder) for folder, n in counts.items() if n > MOST_FILES} == FULL_FOLDERS


def test_no_file_is_too_long() -> None:
    lengths = {str(p): len((ROOT / p).read_bytes().splitlines()) for p in sources(*PYTHON)}
    assert {path for path, lines in lengths.items() if lines > MOST_LINES} == LONG_FILES


def test_no_function_is_too_long() -> None:
    long = {
        name
        for name, node in functions(*PYTHON)
        if (node.end_lineno or 0) - node.lineno + 1 > MOST_FUNCTION_LINES
    }
    assert long == LONG_FUNCTIONS


def test_no_file_is_exempt_from_ruffs_limit_of_complexity() -> None:
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert "C90" in ruff["lint"]["select"]
    assert ruff["lint"]["mccabe"]["max-complexity"] == MOST_COMPLEXITY
    assert not {"exclude", "extend-exclude"} & {*ruff, *ruff["lint"]}
    ignored = [*ruff["lint"]["ignore"], *ruff["lint"]["per-file-ignores"].values()]
    assert "C90" not in str(ignored)
    marks = ("noqa: C90", "ruff: noqa", "flake8: noqa")
    exempt = [
        str(path)
        for path in sources(*PYTHON)
        for line in (ROOT / path).read_text(encoding="utf-8").splitlines()
        if any(f"# {mark}" in line for mark in marks)
    ]
    assert exempt == []


def test_no_line_of_the_pages_scripts_is_too_long() -> None:
    """Ruff holds the limit for Python. Libraries below ``vendor`` are as they were published."""
    static = ROOT / "api" / "static"
    scripts = sorted(set(static.rglob("*.js")) - set((static / "vendor").rglob("*.js")))
    assert len(scripts) > 20
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in scripts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > MOST_COLUMNS
    ]
    assert long == []


def test_files_are_named_by_what_they_hold() -> None:
    vague = [str(path) for path in sources(*PYTHON) if path.stem in VAGUE_NAMES]
    assert vague == []
