"""Markdown on a terminal: a block is rendered once it is whole, and nothing of a text is lost."""

from __future__ import annotations

import os
import re

import pytest

from mlxq.commands.markdown import MarkdownText, rows_of

_ERASE = re.compile(r"\r(?:\x1b\[(\d+)A)?\x1b\[J")


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((40, 12)))
    monkeypatch.setenv("COLUMNS", "40")


def shown(capsys: pytest.CaptureFixture[str], *pieces: str) -> str:
    """What stands on the screen in the end: an erasure takes back the rows that it names."""
    text = MarkdownText()
    for piece in pieces:
        text.add(piece)
    text.close()
    screen, raw = "", capsys.readouterr().out
    place = 0
    for erase in _ERASE.finditer(raw):
        lines = (screen + raw[place : erase.start()]).split("\n")
        wrapped = [line[i : i + 40] for line in lines for i in range(0, max(1, len(line)), 40)]
        kept = wrapped[: len(wrapped) - 1 - int(erase[1] or 0)]
        screen, place = "".join(f"{line}\n" for line in kept), erase.end()
    return screen + raw[place:]


def test_blocks_are_rendered_and_follow_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    pieces = ["Some", "**bold**", "words.\n\n-", "one\n-", "two\n\nPlain", "end"]
    text = shown(capsys, *(f"{piece} " for piece in pieces))
    assert [line.strip() for line in text.strip().split("\n")] == [
        "Some bold words.",
        "",
        "• one",
        "• two",
        "",
        "Plain end",
    ]


def test_code_keeps_its_blank_lines_and_its_marks(capsys: pytest.CaptureFixture[str]) -> None:
    code = "```\na = 1\n\nb = **2\n```"
    text = shown(capsys, code[:9], code[9:], "\n\nAfter *that*.")
    assert [line.strip() for line in text.split("\n") if line.strip()] == [
        "a = 1",
        "b = **2",
        "After that.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Nothing to render, however long this line of plain text may be.",
        "A <b>tag</b> that *rendering* would drop.",
        "".join(f"* line {number}\n" for number in range(30)),
    ],
    ids=["plain", "html", "taller than the screen"],
)
def test_what_cannot_be_rendered_stays_as_it_came(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert shown(capsys, text[:7], text[7:]) == text


def test_rows_count_wrapped_and_wide_characters() -> None:
    assert [rows_of(text, 10) for text in ("", "1234567890", "12345678901", "a\nb", "漢" * 6)] == [
        1,
        1,
        2,
        2,
        2,
    ]
