"""Agents in an empty home folder, set up by ``mlxq connect``: a call of a tool, and an answer.

The agents are the vendors' own programs, and are tried where they are installed: ``npm install -g
@openai/codex @anthropic-ai/claude-code opencode-ai @continuedev/cli``. What they send is answered
by the echo backend, which says what the prompt, and then what the tool printed, tells it to.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.service_support import SERVE, Running
from worker.backends.echo_script import SAY

WINDOW = 300_000
"""Their instructions and tools are long, and a character is a token here."""
LIMIT_S = 180
COMMAND = f"echo '{SAY}It works.' > told; cat told"


def installed(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(program) is None, reason=f"{program} isn't here: npm install -g {package}"
    )


def prompt(tool: str, **arguments: str) -> str:
    """What has the echo backend call a tool."""
    call = json.dumps({"name": tool, "arguments": arguments})
    return f"{SAY}One moment.<tool_call>{call}</tool_call>"


class Desk:
    """A user's folders and variables, and a running service."""

    def __init__(self, url: str, folder: Path) -> None:
        self.home, self.project = folder / "home", folder / "project"
        self.home.mkdir()
        self.project.mkdir()
        self._environ = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "MLXQ_URL": url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CONTINUE_TELEMETRY_ENABLED": "0",
        }

    def connect(self, agent: str) -> None:
        command = [sys.executable, "-m", "mlxq", "connect", agent, "--write"]
        environ = {**self._environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=self.home, env=environ, timeout=LIMIT_S, check=True)

    def run(self, *command: str, stdin: str = "") -> str:
        """What a program prints on its standard output."""
        done = subprocess.run(
            command,
            cwd=self.project,
            env=self._environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("agents")
    running = Running(SERVE, data, MLXQ_BACKEND="echo", MLXQ_ECHO_CONTEXT_WINDOW=str(WINDOW))
    yield running.line("Ready: ").removeprefix("Ready: ")
    running.close()


@pytest.fixture
def desk(url: str, tmp_path: Path) -> Desk:
    return Desk(url, tmp_path)


@installed("codex", "@openai/codex")
def test_codex_runs_a_command_and_answers(desk: Desk) -> None:
    desk.connect("codex")
    said = desk.run(
        "codex",
        "exec",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
        prompt("exec_command", cmd=COMMAND),
    )
    assert said.strip() == "It works."
    assert (desk.project / "told").read_text() == f"{SAY}It works.\n"


@installed("claude", "@anthropic-ai/claude-code")
def test_claude_code_runs_a_command_and_answers(desk: Desk) -> None:
    desk.connect("claude-code")
    said = desk.run(
        "claude",
        "--print",
        "--output-format=json",
        "--allowed-tools=Bash",
        prompt("Bash", command=COMMAND, description="Tell"),
    )
    result = json.loads(said)
    assert (result["is_error"], result["result"], result["num_turns"]) == (False, "It works.", 2)
    assert result["modelUsage"]["demo-chat"]["contextWindow"] == WINDOW
    assert (desk.project / "told").read_text() == f"{SAY}It works.\n"


@installed("opencode", "opencode-ai")
def test_opencode_runs_a_command_and_answers(desk: Desk) -> None:
    desk.connect("opencode")
    # It puts quotation marks around a prompt that is an argument.
    said = desk.run("opencode", "run", stdin=prompt("bash", command=COMMAND, description="Tell"))
    assert said.strip().endswith("It works.")
    assert (desk.project / "told").read_text() == f"{SAY}It works.\n"


@installed("cn", "@continuedev/cli")
def test_continue_runs_a_command_and_answers(desk: Desk) -> None:
    desk.connect("continue")
    config = str(desk.home / ".continue" / "config.yaml")
    said = desk.run("cn", "--config", config, "--auto", "-p", prompt("Bash", command=COMMAND))
    assert said.strip() == "It works."
    assert (desk.project / "told").read_text() == f"{SAY}It works.\n"
