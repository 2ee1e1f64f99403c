"""``mlxq connect --write``: new files, and files whose other settings stay."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mlxq.cli import app
from mlxq.connect.agents import AGENTS
from tests.support.cli_support import (
    BIG,
    FOLDERS,
    FakeService,
    mode,
    names,
    put,
)
from tests.support.cli_support import connect_write as write

URL = "http://127.0.0.1:8000/v1"
WRITTEN = [agent for agent in AGENTS if agent.files]


# --- new files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", WRITTEN, ids=lambda agent: agent.name)
def test_a_new_file_holds_what_is_printed_for_it(agent: Any, home: Path) -> None:
    result = write(agent.name)
    assert result.exit_code == 0, result.output
    paths = [home / file.shown_path.removeprefix("~/") for file in agent.files]
    assert result.stdout == "".join(f"Wrote {path}.\n" for path in paths)
    runner = CliRunner(env={"MLXQ_URL": None, "MLXQ_API_KEY": None})
    shown = runner.invoke(
        app,
        ["connect", agent.name, "--json"],
        obj=FakeService(**{"GET /api/engine/models": [BIG]}),
        prog_name="mlxq",
    )
    texts = [block["text"] for block in json.loads(shown.stdout)["blocks"]]
    if agent.name != "claude-code":  # Its printed text is for a shell.
        assert [path.read_text(encoding="utf-8") for path in paths] == texts
    assert [mode(path) for path in paths] == [0o600] * len(paths)


def test_claude_codes_file_has_the_variables_as_texts(home: Path) -> None:
    write("claude-code")
    env = json.loads((home / ".claude/settings.json").read_text(encoding="utf-8"))["env"]
    assert env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8000"
    assert env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "131072"
    assert {type(value) for value in env.values()} == {str}


def test_programs_folders_are_where_their_variables_say(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in FOLDERS:
        monkeypatch.setenv(variable, str(home / variable))
    for name in ("codex", "claude-code", "opencode", "crush", "zed", "continue"):
        assert write(name).exit_code == 0
    found = sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file())
    assert found == [
        "CLAUDE_CONFIG_DIR/settings.json",
        "CODEX_HOME/config.toml",
        "CONTINUE_GLOBAL_DIR/config.yaml",
        "XDG_CONFIG_HOME/crush/crush.json",
        "XDG_CONFIG_HOME/opencode/opencode.json",
        "XDG_CONFIG_HOME/zed/settings.json",
    ]


# --- files that are there -------------------------------------------------------------------------


def test_codex_keeps_its_other_settings_and_their_comments(home: Path) -> None:
    before = (
        "# mine\n"
        'model = "gpt-9"  # the best\n'
        'approval_policy = "never"\n'
        "\n"
        "# servers\n"
        "[mcp_servers.files]\n"
        'command = "files"\n'
        "\n"
        "[model_providers.other]\n"
        'base_url = "https://example.com"\n'
    )
    path = put(home / ".codex/config.toml", before)
    result = write("codex")
    assert result.stdout == f"Wrote {path}; the file as it was is config.toml.backup-1.\n"
    assert path.read_text() == (
        "# mine\n"
        'model = "Big 7B"  # the best\n'
        'approval_policy = "never"\n'
        'model_provider = "mlxq"\n'
        "model_context_window = 131072\n"
        "\n"
        "# servers\n"
        "[mcp_servers.files]\n"
        'command = "files"\n'
        "\n"
        "[model_providers.other]\n"
        'base_url = "https://example.com"\n'
        "\n"
        "[model_providers.mlxq]\n"
        'name = "MLX chat queue"\n'
        f'base_url = "{URL}"\n'
        'wire_api = "responses"\n'
    )
    assert (path.parent / "config.toml.backup-1").read_text() == before


def test_a_provider_of_codex_is_changed_where_it_stands(home: Path) -> None:
    path = put(
        home / ".codex/config.toml",
        'model_providers.other.name = "y"\n'
        "[model_providers.mlxq] # ours\n"
        "base_url = 'http://127.0.0.1:9/v1'\n"
        "request_max_retries = 2\n"
        "\n"
        "# tools\n"
        "[tools]\n"
        "web_search = false\n",
    )
    assert write("codex").exit_code == 0
    assert path.read_text() == (
        'model_providers.other.name = "y"\n'
        'model = "Big 7B"\n'
        'model_provider = "mlxq"\n'
        "model_context_window = 131072\n"
        "[model_providers.mlxq] # ours\n"
        f'base_url = "{URL}"\n'
        "request_max_retries = 2\n"
        'name = "MLX chat queue"\n'
        'wire_api = "responses"\n'
        "\n"
        "# tools\n"
        "[tools]\n"
        "web_search = false\n"
    )


def test_zeds_comments_order_and_spacing_stay(home: Path) -> None:
    path = put(
        home / ".config/zed/settings.json",
        "// Zed's settings\n"
        "{\n"
        '    "theme": "One Dark", // dark\n'
        '    "language_models": {\n'
        '        "ollama": {"api_url": "http://localhost:11434"},\n'
        "    },\n"
        '    "vim_mode": true /* yes */\n'
        "}\n",
    )
    assert write("zed").exit_code == 0
    text = path.read_text()
    assert text.startswith(
        "// Zed's settings\n"
        "{\n"
        '    "theme": "One Dark", // dark\n'
        '    "language_models": {\n'
        '        "ollama": {"api_url": "http://localhost:11434"},\n'
        '        "openai_compatible": {\n'
        '            "mlxq": {\n'
        f'                "api_url": "{URL}",\n'
    )
    assert text.endswith('        },\n    },\n    "vim_mode": true /* yes */\n}\n')


def test_another_model_joins_those_of_the_list(home: Path) -> None:
    path = home / ".config/zed/settings.json"
    write("zed")
    write("zed", model=BIG | {"name": "Other"})
    write("zed", model=BIG | {"context_window": 4096})
    models = json.loads(path.read_text())["language_models"]["openai_compatible"]["mlxq"]
    assert [(m["name"], m["max_tokens"]) for m in models["available_models"]] == [
        ("Big 7B", 4096),
        ("Other", 131072),
    ]


def test_claude_code_keeps_permissions_and_other_variables(home: Path) -> None:
    before = {"permissions": {"allow": ["Bash(ls)"]}, "env": {"FOO": "1"}, "model": "opus"}
    path = put(home / ".claude/settings.json", json.dumps(before))
    assert write("claude-code").exit_code == 0
    after = json.loads(path.read_text())
    assert after["env"].pop("FOO") == "1"
    assert after.pop("env")["ANTHROPIC_MODEL"] == "Big 7B"
    assert after == {"permissions": before["permissions"], "model": "opus"}


def test_opencode_has_its_settings_in_the_file_that_is_there(home: Path) -> None:
    path = put(
        home / ".config/opencode/opencode.jsonc", '{\n  // mine\n  "autoupdate": false,\n}\n'
    )
    assert write("opencode").exit_code == 0
    assert names(path.parent) == ["opencode.jsonc", "opencode.jsonc.backup-1"]
    assert path.read_text().startswith('{\n  // mine\n  "autoupdate": false,\n  "$schema":')


def test_continue_keeps_its_name_models_and_comments(home: Path) -> None:
    path = put(
        home / ".continue/config.yaml",
        "name: Mine # my own\n"
        "version: 0.0.2\n"
        "schema: v1\n"
        "models:\n"
        "  # the usual one\n"
        "  - name: GPT\n"
        "    provider: openai\n"
        "    model: gpt-9\n"
        "\n"
        "rules:\n"
        "  - Be brief.\n",
    )
    assert write("continue").exit_code == 0
    text = path.read_text()
    assert text.startswith(
        "name: Mine # my own\n"
        "version: 0.0.2\n"
        "schema: v1\n"
        "models:\n"
        "  # the usual one\n"
        "  - name: GPT\n"
        "    provider: openai\n"
        "    model: gpt-9\n"
        '  - name: "Big 7B"\n'
    )
    assert text.endswith("\n\nrules:\n  - Be brief.\n")
    assert [m["name"] for m in yaml.safe_load(text)["models"]] == ["GPT", "Big 7B"]


def test_aider_keeps_its_comments(home: Path) -> None:
    path = put(home / ".aider.conf.yml", "# mine\nmodel: sonnet # quick\ndark-mode: true")
    assert write("aider").exit_code == 0
    assert path.read_text() == (
        '# mine\nmodel: "openai/Big 7B" # quick\ndark-mode: true\n'
        f"openai-api-base: {URL}\nopenai-api-key: none"
    )


@pytest.mark.parametrize("agent", WRITTEN, ids=lambda agent: agent.name)
def test_written_twice_nothing_changes_and_no_backup_is_made(agent: Any, home: Path) -> None:
    write(agent.name)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    result = write(agent.name)
    assert result.exit_code == 0
    assert result.stdout.count("has these settings already.\n") == len(agent.files)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_backups_are_numbered_and_none_is_overwritten(home: Path) -> None:
    path = put(home / ".codex/config.toml", "a = 0\n")
    put(path.with_name("config.toml.backup-1"), "of somebody\n")
    for number in (1, 2):
        assert write("codex", model=BIG | {"context_window": number * 1000}).exit_code == 0
    texts = [(path.parent / f"config.toml.backup-{n}").read_text() for n in (1, 2, 3)]
    assert texts[:2] == ["of somebody\n", "a = 0\n"]
    assert "model_context_window = 1000\n" in texts[2]
    assert "model_context_window = 2000\n" in path.read_text()


def test_lines_that_end_as_on_windows_still_do(home: Path) -> None:
    path = put(home / ".codex/config.toml", 'a = 1\r\n[b]\r\nc = "d"\r\n')
    assert write("codex").exit_code == 0
    content = path.read_bytes()
    assert content.count(b"\r\n") == content.count(b"\n") > 5
    assert tomllib.loads(content.decode())["b"] == {"c": "d"}


def test_a_link_stays_a_link(home: Path) -> None:
    real = put(home / "dotfiles/codex.toml", "a = 1\n")
    link = home / ".codex/config.toml"
    link.parent.mkdir()
    link.symlink_to(real)
    assert write("codex").exit_code == 0
    assert link.is_symlink()
    assert "mlxq" in real.read_text()
    assert names(real.parent) == ["codex.toml", "codex.toml.backup-1"]


def test_json_says_what_was_written(home: Path) -> None:
    path = put(home / ".codex/config.toml", "a = 1\n")
    shown = json.loads(write("codex", "--json").stdout)
    assert shown["written"] == [{"path": str(path), "backup": f"{path}.backup-1"}]
    assert json.loads(write("codex", "--json").stdout)["written"] == []
