"""``mlxq connect`` as a process, in a home folder of its own, against a running service with keys:
what it prints and writes works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.support.paths import ROOT
from tests.support.service_support import LIMIT_S, SERVE, Running
from worker.backends.echo import answer

KEY = "ann-0123456789abcdef"
WINDOW = 50_000


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("connect")
    running = Running(
        SERVE,
        data,
        MLXQ_BACKEND="echo",
        MLXQ_API_KEYS=f"ann:{KEY}",
        MLXQ_ECHO_CONTEXT_WINDOW=str(WINDOW),
    )
    yield running.line("Ready: ").removeprefix("Ready: ")
    running.close()


@pytest.fixture
def environ(url: str, tmp_path: Path) -> dict[str, str]:
    """A user's variables: an empty home folder, and nothing of ours but the address and the key."""
    return {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "MLXQ_URL": url,
        "MLXQ_API_KEY": KEY,
    }


def connect(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mlxq", "connect", *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def exported(environ: dict[str, str], name: str) -> dict[str, str]:
    """The variables of a shell that has run what is printed, but for the program itself."""
    text = connect(environ, name).stdout.removesuffix("claude\n")
    shell = subprocess.run(
        ["sh", "-c", f'{text}\nexec "$0" -c "import json, os; print(json.dumps(dict(os.environ)))"', sys.executable],
        env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=True,
    )  # fmt: skip
    variables: dict[str, str] = json.loads(shell.stdout)
    return variables


def test_the_clients_work_with_the_variables_that_are_printed(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("openai", "anthropic"):
        for variable, value in exported(environ, name).items():
            if variable.startswith(("OPENAI_", "ANTHROPIC_")):
                monkeypatch.setenv(variable, value)
    long = "hello" * 2000
    with OpenAI(max_retries=0) as openai:
        chat = openai.chat.completions.create(
            model="demo-chat",
            messages=[{"role": "user", "content": long}],
            seed=1,
            max_tokens=3,
        )
    assert chat.choices[0].message.content == answer(long, 1, 3)
    with Anthropic(max_retries=0) as anthropic:
        counted = anthropic.messages.count_tokens(
            model="demo-chat", messages=[{"role": "user", "content": long}]
        )
    assert counted.input_tokens == len(f"user:{long}\n")


def test_claude_codes_variables_name_the_model_and_the_key(environ: dict[str, str]) -> None:
    variables = exported(environ, "claude-code")
    assert variables["ANTHROPIC_BASE_URL"] == environ["MLXQ_URL"]
    assert variables["ANTHROPIC_AUTH_TOKEN"] == KEY
    assert variables["ANTHROPIC_MODEL"] == "demo-chat"


def test_a_file_is_written_into_an_empty_home_and_merged_into_one_that_is_there(
    environ: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / ".codex" / "config.toml"
    first = connect(environ, "codex", "--write")
    assert (first.returncode, first.stdout) == (0, f"Wrote {path}.\n")
    config = tomllib.loads(path.read_text(encoding="utf-8"))
    assert config["model_context_window"] == WINDOW
    assert config["model_providers"]["mlxq"]["base_url"] == f"{environ['MLXQ_URL']}/v1"
    assert config["model_providers"]["mlxq"]["env_key"] == "MLXQ_API_KEY"
    path.write_text('model = "other" # mine\n[tui]\ntheme = "dark"\n', encoding="utf-8")
    second = connect(environ, "codex", "--write")
    assert second.stdout == f"Wrote {path}; the file as it was is config.toml.backup-1.\n"
    config = tomllib.loads(path.read_text(encoding="utf-8"))
    assert (config["model"], config["tui"]) == ("demo-chat", {"theme": "dark"})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".codex"]


def test_a_file_that_cannot_be_changed_stays(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / ".claude" / "settings.json"
    path.parent.mkdir()
    path.write_text('{"env": ', encoding="utf-8")
    refused = connect(environ, "claude-code", "--write")
    assert refused.returncode == 1
    assert "stays as it is (it is not valid JSON in line 1)" in refused.stderr
    assert path.read_text(encoding="utf-8") == '{"env": '
    assert KEY not in refused.stdout + refused.stderr


def test_without_the_key_nothing_is_printed(environ: dict[str, str]) -> None:
    refused = connect({**environ, "MLXQ_API_KEY": ""}, "codex")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "set MLXQ_API_KEY to one of the service's keys" in refused.stderr
