"""README and docs: every link resolves, every file, route, field and code they name exists, and
none is missing."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from api.app import create_app
from api.chat.schemas import ChatRequest
from api.errors import STATUS
from tests.support.paths import ROOT
from wire.settings import Settings, parser, shown_default

README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
CARDS = sorted((ROOT / "worker" / "demo_models").glob("*/README.md"))
DOCUMENTS = [README, *PAGES, *CARDS]
PACKAGES = ("api", "mlxq", "wire", "worker")
ROUTES = sorted(
    f"{method.upper()} {path}"
    for path, methods in create_app(Settings()).openapi()["paths"].items()
    for method in methods
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^ *```.*?^ *```$", re.M | re.S)
CODE_SPAN = re.compile(r"`([^`]+)`")
FILE_NAME = re.compile(r"[\w.-]+(/[\w.-]+)+/?|[\w.-]+/")
TEST_NAME = re.compile(r"test_\w+")


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def prose(file: Path) -> str:
    """A document without its blocks of code."""
    return CODE_BLOCK.sub("", text(file))


def anchors(file: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    counts: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(file), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        found.add(anchor if not counts[anchor] else f"{anchor}-{counts[anchor]}")
        counts[anchor] += 1
    return found


def broken_links(file: Path) -> list[str]:
    broken = []
    for link in LINK.findall(prose(file)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def missing_files(file: Path) -> list[str]:
    """Files and folders that the document names and that don't exist, in the repository or below
    tests/."""
    tops = {entry.name for below in (ROOT, ROOT / "tests") for entry in below.iterdir()}
    named = {
        span
        for span in CODE_SPAN.findall(prose(file))
        if FILE_NAME.fullmatch(span) and span.split("/")[0] in tops
    }
    return sorted(
        span
        for span in named
        if not (ROOT / span).exists() and not (ROOT / "tests" / span).exists()
    )


@pytest.mark.parametrize("file", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=name)
def test_every_relative_link_and_anchor_resolves(file: Path) -> None:
    assert broken_links(file) == []


@pytest.mark.parametrize("file", DOCUMENTS, ids=name)
def test_every_file_and_folder_that_is_named_exists(file: Path) -> None:
    assert missing_files(file) == []


@pytest.mark.parametrize("file", DOCUMENTS, ids=name)
def test_every_test_that_is_named_exists(file: Path) -> None:
    named = {span for span in CODE_SPAN.findall(prose(file)) if TEST_NAME.fullmatch(span)}
    sources = "".join(text(test) for test in (ROOT / "tests").rglob("*.py"))
    assert [test for test in sorted(named) if f"def {test}(" not in sources] == []


@pytest.mark.parametrize("file", DOCUMENTS, ids=name)
def test_no_line_is_longer_than_100_columns_but_tables_links_and_code(file: Path) -> None:
    long = [line for line in prose(file).split("\n") if len(line) > 100]
    assert [line for line in long if not re.match(r" *\||.*\]\([^)]{40,}\)", line)] == []


def test_the_readme_has_150_lines_at_most() -> None:
    assert len(text(README).split("\n")) <= 151  # The last line ends the file.


def test_every_document_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(text(README))}
    assert [
        name(file) for file in (*PAGES, *CARDS, ROOT / "CHANGELOG.md") if file not in linked
    ] == []


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_is_documented(route: str) -> None:
    assert f"`{route}`" in text(ROOT / "docs" / "http-api.md")


@pytest.mark.parametrize("field", sorted(ChatRequest.model_fields))
def test_every_field_of_a_chat_is_documented_with_its_default(field: str) -> None:
    page = text(ROOT / "docs" / "http-api.md")
    row = re.search(rf"^\| `{field}` \| ([^|]+) \|", page, re.M)
    assert row, field
    info = ChatRequest.model_fields[field]
    if info.is_required():
        assert row[1] == "required"
    elif isinstance(info.default, (int, float)):
        assert float(row[1]) == info.default
    elif isinstance(info.default, str):
        assert row[1] == f"`{info.default}`"
    else:
        assert row[1] in ("null", "none")


def test_every_setting_is_documented_as_its_help_says_with_its_default() -> None:
    page = text(ROOT / "docs" / "settings.md")
    described = re.sub(r"\s", "", parser("x", "y").format_help())
    for variable, default, what in re.findall(
        r"^\| `MLXQ_(\w+)` \| [^|]* \| ([^|]+) \| ([^|]+) \|$", page, re.M
    ):
        if variable in ("URL", "API_KEY"):  # Of the command line.
            continue
        assert default == shown_default(variable.lower()), variable
        what = re.sub(
            r" \([\w, ]+\)$", "", what
        )  # What may be chosen is not in the help's sentence.
        assert re.sub(r"\s", "", what) in described, variable


@pytest.mark.parametrize("code", sorted(STATUS))
def test_every_error_code_is_documented_with_its_status(code: str) -> None:
    page = text(ROOT / "docs" / "http-api.md")
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})*) \| (.+) \|$", page, re.M)
    statuses = [status for status, codes in rows if f"`{code}`" in codes]
    assert any(str(STATUS[code]) in status for status in statuses), code  # type: ignore[index]


def test_every_package_is_in_the_architecture() -> None:
    tree = text(ROOT / "docs" / "architecture.md")
    folders = {
        f"{name(file.parent)}/" for top in PACKAGES for file in (ROOT / top).rglob("__init__.py")
    }
    assert [folder for folder in sorted(folders) if f"`{folder}`" not in tree] == []


def test_every_named_thread_is_in_the_architecture_and_none_that_does_not_exist() -> None:
    page = text(ROOT / "docs" / "architecture.md")
    tables = page[page.index("## Threads and processes") : page.index("### The supervisor")]
    documented = {
        thread
        for row in re.findall(r"^\| ([^|]+) \|", tables, re.M)
        for thread in CODE_SPAN.findall(row)
    }
    sources = "".join(text(file) for top in PACKAGES for file in (ROOT / top).rglob("*.py"))
    started = re.findall(r'Thread(?:PoolExecutor)?\((?:[^()]|\([^()]*\))*?"([a-z-]+)"', sources)
    assert sorted(set(started) - documented) == []
    assert [thread for thread in sorted(documented) if f'"{thread}"' not in sources] == []


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads(text(ROOT / "pyproject.toml"))
    groups = project["dependency-groups"]
    lines = [
        *project["project"]["dependencies"],
        *(line for group in groups.values() for line in group),
    ]
    declared = {re.split(r"[\[<>=;]", line)[0] for line in lines}
    page = text(ROOT / "docs" / "decisions.md")
    table = page[page.index("| dependency |") : page.index("## Locks and installation")]
    explained = {
        package.removeprefix("dev: ").removeprefix("real-models: ").split("[")[0]
        for row in re.findall(r"^\| ([^|]+) \|", table, re.M)
        for package in row.split(", ")
    } - {"dependency"}
    assert (sorted(declared - explained), sorted(explained - declared)) == ([], [])


def test_every_script_is_named() -> None:
    texts = "".join(text(file) for file in DOCUMENTS)
    scripts = {
        file.name
        for file in (ROOT / "scripts").iterdir()
        if file.is_file() and "." not in file.name
    }
    missing = [script for script in sorted(scripts) if not re.search(rf"scripts/{script}\b", texts)]
    assert missing == []


def test_broken_links_missing_files_and_repeated_headings_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n## One\n## A `code` & more\n[a](#one) [b](#one-1) [c](#a-code--more) [d](#two)\n"
        "[e](other.md) `api/app.py` `api/nothing.py` `docs/` `a/b` `scripts/test` `worker/nowhere/`\n"
        "```\n[f](inside-code.md)\n```\n",
        encoding="utf-8",
    )
    assert broken_links(page) == ["#two", "other.md"]
    assert missing_files(page) == ["api/nothing.py", "worker/nowhere/"]
