"""``mlxq connect --write`` and API keys: who may read a file, and which files have one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_support import KEY, first_file, mode, put
from tests.support.cli_support import connect_write as write


@pytest.mark.parametrize("name", ["claude-code", "aider", "continue"])
def test_a_file_with_the_key_is_for_its_owner_alone(name: str, home: Path) -> None:
    path = first_file(home, name)
    put(path, "{}" if path.suffix == ".json" else "a: 1\n")
    assert write(name, key=KEY).exit_code == 0
    assert KEY in path.read_text()
    assert mode(path) == 0o600


@pytest.mark.parametrize("name", ["codex", "opencode", "crush"])
def test_programs_that_read_our_variable_get_no_key(name: str, home: Path) -> None:
    path = first_file(home, name)
    assert write(name, key=KEY).exit_code == 0
    assert "MLXQ_API_KEY" in path.read_text()
    assert KEY not in path.read_text()


def test_a_file_without_a_key_keeps_its_mode(home: Path) -> None:
    path = put(home / ".codex/config.toml", "a = 1\n", 0o640)
    write("codex", key=KEY)
    assert mode(path) == 0o640
    assert mode(path.with_name("config.toml.backup-1")) == 0o640
