"""tests/browser/prepare names what is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PREPARE = ROOT / "tests" / "browser" / "prepare"
MAC = "/Applications/Google Chrome.app"
"""An installed browser, which the script would find by its path: the script looks elsewhere
here."""
BASH = shutil.which("bash") or "bash"


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder for PATH with what the script calls, a recent node, no browser, and nobody who
    may install one."""
    for name in ("dirname", "cmp"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    for name, says in (("node", "22"), ("npm", ""), ("id", "1000")):
        (tmp_path / name).write_text(f"#!{BASH}\necho {says}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def test_a_missing_browser_is_named(bare_path: Path) -> None:
    script = PREPARE.read_text("utf-8")
    assert MAC in script
    for folder in ("browser", "node"):
        (bare_path / "tests" / folder).mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "node" / "npm_packages", bare_path / "tests" / "node")
    prepare = bare_path / "tests" / "browser" / "prepare"
    prepare.write_text(script.replace(MAC, str(bare_path)), "utf-8")
    command, environment = [BASH, prepare], {"PATH": str(bare_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "install chromium (" in done.stderr
