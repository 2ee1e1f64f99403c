"""``mlxq connect``: the names, the texts, and what they are filled in with."""

from __future__ import annotations

import json
import shlex
import tomllib
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mlxq.cli import app
from mlxq.connect.agents import AGENTS
from tests.support.cli_support import MODEL, FakeService, mlxq, refusal

URL = "http://127.0.0.1:8000"
NAMES = [agent.name for agent in AGENTS]
BIG = MODEL | {"id": "m2", "name": "Big 7B", "context_window": 131072, "takes_tools": True}
SEES = BIG | {"id": "m3", "name": "Seer", "is_vision": True}


def service(*models: dict[str, Any], active: dict[str, Any] | None = None) -> FakeService:
    """A service whose default model is ``active``."""
    rows = [row | {"default": row is active} for row in models or (BIG,)]
    return FakeService(**{"GET /api/engine/models": rows})


def printed(name: str, *options: str, of: FakeService | None = None) -> str:
    result = mlxq(of or service(), "connect", name, *options)
    assert result.exit_code == 0, result.output
    return result.stdout


def variables(text: str) -> dict[str, str]:
    """What a shell would export."""
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    return dict(line[1].split("=", 1) for line in lines if line[:1] == ["export"])


def test_without_a_name_the_names_are_listed_and_no_service_is_asked() -> None:
    nobody = FakeService()
    result = mlxq(nobody, "connect")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["NAME", *NAMES]
    rows = json.loads(mlxq(nobody, "connect", "--json").stdout)
    assert [row["name"] for row in rows] == NAMES
    assert rows[1]["files"] == ["~/.codex/config.toml"]
    assert nobody.requests == []


def test_claude_code_gets_the_address_the_model_and_its_window() -> None:
    text = printed("claude-code")
    assert variables(text) == {
        "ANTHROPIC_BASE_URL": URL,
        "ANTHROPIC_AUTH_TOKEN": "none",
        "ANTHROPIC_MODEL": "Big 7B",
        "ANTHROPIC_DEFAULT_OPUS_MODEL": "Big 7B",
        "ANTHROPIC_DEFAULT_SONNET_MODEL": "Big 7B",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "Big 7B",
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "131072",
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "131072",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "16384",
    }
    assert text.endswith("\nclaude\n")
    assert printed("claude") == text


def test_codex_gets_a_provider_and_the_window() -> None:
    assert tomllib.loads(printed("codex")) == {
        "model": "Big 7B",
        "model_provider": "mlxq",
        "model_context_window": 131072,
        "model_providers": {
            "mlxq": {
                "name": "MLX chat queue",
                "base_url": f"{URL}/v1",
                "wire_api": "responses",
            }
        },
    }


def test_opencode_gets_a_provider_with_the_model() -> None:
    config = json.loads(printed("opencode", of=service(SEES)))
    assert config["model"] == "mlxq/Seer"
    assert config["provider"]["mlxq"]["options"] == {"baseURL": f"{URL}/v1", "apiKey": "none"}
    assert config["provider"]["mlxq"]["models"]["Seer"] == {
        "name": "Seer",
        "limit": {"context": 131072, "output": 16384},
        "attachment": True,
        "modalities": {"input": ["text", "image"], "output": ["text"]},
    }
    blind = json.loads(printed("opencode"))["provider"]["mlxq"]["models"]["Big 7B"]
    assert "modalities" not in blind


def test_crush_gets_a_provider_and_both_of_its_models() -> None:
    config = json.loads(printed("crush"))
    assert config["models"]["large"] == config["models"]["small"]
    assert config["models"]["large"] == {"model": "Big 7B", "provider": "mlxq"}
    [model] = config["providers"]["mlxq"]["models"]
    assert (model["id"], model["context_window"]) == ("Big 7B", 131072)
    assert config["providers"]["mlxq"]["base_url"] == f"{URL}/v1"


def test_aider_gets_two_files() -> None:
    settings, windows = printed("aider").split("\n\n")
    assert yaml.safe_load(settings) == {
        "model": "openai/Big 7B",
        "openai-api-base": f"{URL}/v1",
        "openai-api-key": "none",
    }
    assert json.loads(windows)["openai/Big 7B"]["max_input_tokens"] == 131072


def test_zed_gets_a_provider_that_takes_its_key_from_our_variable() -> None:
    config = json.loads(printed("zed", of=service(SEES)))
    provider = config["language_models"]["openai_compatible"]["mlxq"]
    assert provider["api_url"] == f"{URL}/v1"
    [model] = provider["available_models"]
    assert (model["name"], model["max_tokens"]) == ("Seer", 131072)
    assert model["capabilities"]["images"] is True


def test_continue_gets_a_model_of_its_list() -> None:
    [model] = yaml.safe_load(printed("continue", of=service(SEES)))["models"]
    assert (model["model"], model["apiBase"], model["apiKey"]) == ("Seer", f"{URL}/v1", "none")
    assert model["capabilities"] == ["tool_use", "image_input"]
    assert model["defaultCompletionOptions"]["contextLength"] == 131072


@pytest.mark.parametrize("name", ["cline", "n8n"])
def test_what_is_typed_into_a_form_has_a_line_a_field(name: str) -> None:
    rows = [line.split(":", 1) for line in printed(name).splitlines()]
    fields = {label: value.strip() for label, value in rows}
    assert fields["Base URL"] == f"{URL}/v1"
    assert fields["API Key"] == "none"
    assert "Big 7B" in fields.values()


def test_programs_and_libraries_get_variables() -> None:
    assert variables(printed("open-webui")) == {
        "OPENAI_API_BASE_URL": f"{URL}/v1",
        "OPENAI_API_KEY": "none",
        "DEFAULT_MODELS": "Big 7B",
    }
    assert variables(printed("openai")) == {
        "OPENAI_BASE_URL": f"{URL}/v1",
        "OPENAI_API_KEY": "none",
    }
    assert variables(printed("anthropic")) == {
        "ANTHROPIC_BASE_URL": URL,
        "ANTHROPIC_API_KEY": "none",
    }
    assert "# model: Big 7B, 131072 tokens\n" in printed("anthropic")


@pytest.mark.parametrize("name", NAMES)
def test_the_address_is_the_one_that_was_asked(name: str) -> None:
    text = printed(name, "--url", "https://models.example:8443/")
    assert "https://models.example:8443" in text
    assert "127.0.0.1" not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_key_is_never_printed(name: str) -> None:
    runner = CliRunner(env={"MLXQ_API_KEY": "ann-0123456789abcdef", "MLXQ_URL": None})
    shown = runner.invoke(app, ["connect", name], obj=service(), prog_name="mlxq")
    assert shown.exit_code == 0
    assert "ann-0123456789abcdef" not in shown.output
    assert "none" not in shown.stdout
    # Where the program can't look the key up, the text says what to put in its place.
    assert ("MLXQ_API_KEY" in shown.output) or ("YOUR_API_KEY" in shown.stdout)
    assert ("Put your API key" in shown.stderr) == ("YOUR_API_KEY" in shown.stdout)


def test_text_to_copy_is_all_that_is_on_standard_output() -> None:
    result = mlxq(service(), "connect", "zed")
    json.loads(result.stdout)
    assert result.stderr.splitlines()[1] == "In ~/.config/zed/settings.json:"


def test_json_has_the_texts_and_what_they_are_about() -> None:
    shown = json.loads(printed("codex", "--json"))
    assert (shown["name"], shown["url"], shown["model"]) == ("codex", URL, "Big 7B")
    assert shown["context_window"] == 131072
    [block] = shown["blocks"]
    assert block == {
        "about": "In `~/.codex/config.toml`:",
        "text": printed("codex"),
        "language": "toml",
    }


# --- which model ----------------------------------------------------------------------------------


def model_of(text: str) -> str:
    return str(tomllib.loads(text)["model"])


def test_a_model_with_tools_comes_before_the_default_one() -> None:
    chosen = printed("codex", of=service(MODEL, BIG, SEES, active=MODEL))
    assert model_of(chosen) == "Big 7B"
    assert model_of(printed("codex", of=service(MODEL, BIG, SEES, active=SEES))) == "Seer"
    plain = [MODEL | {"id": "a", "name": "A"}, MODEL | {"id": "b", "name": "B"}]
    assert model_of(printed("codex", of=service(*plain, active=plain[1]))) == "B"
    assert model_of(printed("codex", of=service(*plain))) == "A"


def test_a_model_may_be_named_by_its_name_or_id() -> None:
    both = service(BIG, SEES)
    assert model_of(printed("codex", "--model", "Seer", of=both)) == "Seer"
    assert model_of(printed("codex", "-m", "m3", of=both)) == "Seer"


def test_models_of_one_name_go_by_their_ids() -> None:
    twins = service(BIG, BIG | {"id": "m9"})
    assert model_of(printed("codex", "--model", "m9", of=twins)) == "m9"


def test_a_model_that_is_still_being_downloaded_is_not_chosen() -> None:
    waiting = BIG | {"downloaded": False}
    assert model_of(printed("codex", of=service(waiting, MODEL))) == "Tiny"
    result = mlxq(service(waiting), "connect", "codex")
    assert result.exit_code == 1
    assert result.stderr.startswith("mlxq: there is no model: `mlxq pull smollm2` gets one")


def test_small_windows_and_templates_without_tools_are_told() -> None:
    remarks = mlxq(service(MODEL | {"takes_tools": False}), "connect", "codex").stderr
    assert "Tiny has room for 2048 tokens" in remarks
    assert "The chat template of Tiny has no tools" in remarks
    assert "2048" not in mlxq(service(MODEL), "connect", "open-webui").stderr
    assert "template" not in mlxq(service(BIG), "connect", "codex").stderr


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("connect codx", 2, "there is no setup for 'codx' (did you mean 'codex'?)"),
        ("connect Claude", 0, ""),
        ("connect xyzzy", 2, "there is no setup for 'xyzzy': `mlxq connect` lists them"),
        ("connect --write", 2, "name the program that is meant"),
        ("connect cline --write", 2, "Cline has no file to write"),
        ("connect codex --model big", 1, "there is no model 'big' (did you mean 'Big 7B'?)"),
        ("connect codex --model xyzzy", 1, "there is no model 'xyzzy': `mlxq list`"),
    ],
)
def test_mistakes_are_one_line(words: str, code: int, sentence: str) -> None:
    result = mlxq(service(), *words.split())
    assert result.exit_code == code
    if code:
        assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert sentence in result.stderr


def test_a_service_that_wants_a_key_says_so() -> None:
    closed = FakeService(**{"GET /api/engine/models": refusal(401, "unauthorized", "No API key.")})
    result = mlxq(closed, "connect", "codex")
    assert result.exit_code == 1
    assert "set MLXQ_API_KEY" in result.stderr


def test_a_shell_completes_names() -> None:
    environ = {
        "_MLXQ_COMPLETE": "complete_bash",
        "COMP_WORDS": "mlxq connect cl",
        "COMP_CWORD": "2",
    }
    result = CliRunner(env=environ).invoke(app, prog_name="mlxq")
    assert result.stdout.split() == ["claude-code", "cline"]
