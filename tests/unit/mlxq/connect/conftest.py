"""A home folder of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_support import FOLDERS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in FOLDERS:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path
