"""``mlxq connect --write`` and files that can't be changed safely: they stay as they are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mlxq.connect import config_file
from tests.support.cli_support import KEY, first_file, names, put
from tests.support.cli_support import connect_write as write


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("codex", "model = \n", "it is not valid TOML"),
        ("codex", 'model = """\ngpt\n"""\n', "the value of 'model' is not a plain one"),
        ("codex", "model_providers = {x = {name = 'y'}}\n", "it is not valid TOML"),
        (
            "codex",
            'a = """\n[b]\n"""\nmodel_provider = "x"\n',
            "its settings are written in a form",
        ),
        ("codex", "[ model_providers.mlxq ]\nname = 'y'\n", "it is not valid TOML"),
        ("codex", "model_providers = 1\n", "a plain value stands where an object belongs"),
        ("codex", "\udcff", "it is not UTF-8"),
        ("zed", '{"a": 1', "it is not valid JSON in line 1"),
        ("zed", '{"a": 1}\n}', "it is not valid JSON in line 2"),
        ("zed", '{"a": 1 "b": 2}', "it is not valid JSON in line 1"),
        ("zed", "{/* }", "it is not valid JSON in line 1"),
        ("zed", "[1, 2]", "it is not an object"),
        ("zed", '{"a": 1, "a": 2}', "it has 'a' twice"),
        ("zed", '{"language_models": []}', "a list stands where an object belongs"),
        ("zed", "[" * 100_000, "it is nested too deeply"),
        ("continue", "a: [", "it is not valid YAML in line 1"),
        ("continue", "- a\n", "it is not an object"),
        ("continue", "{a: 1}\n", "it is not a mapping with a key a line"),
        ("continue", "models: [{name: x}]\n", "a list is not one with an item a line"),
        ("continue", "models: {}\n", "an object stands where a list belongs"),
        ("continue", "name: x\nname: y\n", "it has 'name' twice"),
        ("continue", "a: |\n  b\n", "it ends with a text of several lines"),
        ("aider", "model: |\n  x\nb: 1\n", "a value is not a plain one"),
        ("aider", "a: 1\n---\nb: 2\n", "it is not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_merged_stays_and_the_text_is_printed(
    name: str, text: str, reason: str, home: Path
) -> None:
    path = first_file(home, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(errors="surrogateescape"))
    before = path.read_bytes()
    result = write(name)
    assert result.exit_code == 1
    assert f"{path} stays as it is ({reason}" in result.stderr
    assert "put the text in yourself" in result.stderr
    assert "Big 7B" in result.stdout
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


def test_a_refusal_prints_no_key(home: Path) -> None:
    put(home / ".claude/settings.json", "{")
    result = write("claude-code", key=KEY)
    assert result.exit_code == 1
    assert KEY not in result.output
    assert json.loads(result.stdout)["env"]["ANTHROPIC_AUTH_TOKEN"] == "YOUR_API_KEY"


def test_of_two_files_none_is_written_when_one_cannot_be(home: Path) -> None:
    put(home / ".aider.model.metadata.json", "[]")
    assert write("aider").exit_code == 1
    assert names(home) == [".aider.model.metadata.json"]


def test_what_is_not_a_file_is_left_alone(home: Path) -> None:
    (home / ".codex/config.toml").mkdir(parents=True)
    result = write("codex")
    assert "it is not a regular file" in result.stderr
    os.rmdir(home / ".codex/config.toml")
    os.mkfifo(home / ".codex/config.toml")
    assert "it is not a regular file" in write("codex").stderr
    assert names(home / ".codex") == ["config.toml"]


def test_a_file_that_is_too_large_is_left_alone(home: Path) -> None:
    path = put(home / ".codex/config.toml", "")
    os.truncate(path, 5 << 20)
    assert "it is larger than 4 MiB" in write("codex").stderr


def test_a_file_that_cannot_be_read_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(home / ".codex/config.toml", "a = 1\n")

    def denied(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    result = write("codex")
    assert "stays as it is (it can't be read: Permission denied" in result.stderr
    assert names(path.parent) == ["config.toml"]


def test_a_file_that_another_program_changes_meanwhile_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(home / ".codex/config.toml", "a = 1\n")
    planned = config_file.plan

    def slow(*arguments: Any) -> Any:
        change = planned(*arguments)
        path.write_text("a = 2\n")
        return change

    monkeypatch.setattr("mlxq.connect.setups.plan", slow)
    result = write("codex")
    assert "another program has just changed it): try again" in result.stderr
    assert path.read_text() == "a = 2\n"
    assert names(path.parent) == ["config.toml"]


def test_a_write_that_fails_leaves_the_old_file_whole(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(home / ".codex/config.toml", "a = 1\n")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = write("codex")
    assert (result.exit_code, "No space left" in result.stderr) == (1, True)
    assert path.read_text() == "a = 1\n"
    assert names(path.parent) == ["config.toml", "config.toml.backup-1"]
