"""Agents that run in a terminal: Claude Code, Codex, OpenCode, Crush, Aider."""

from __future__ import annotations

import shlex
from typing import Any

from mlxq.connect.agent import Agent, Block, ConfigFile, Folder
from mlxq.connect.target import Target
from wire.settings import API_KEY_VARIABLE

PROVIDER = "mlxq"
"""The service's name in files of settings."""
LABEL = "MLX chat queue"


# --- Claude Code ----------------------------------------------------------------------------------


def _claude_variables(target: Target, key: str) -> dict[str, str]:
    """Its variables; all of its models are the one, and the window is the model's."""
    models = ("ANTHROPIC_MODEL", *(f"ANTHROPIC_DEFAULT_{size}_MODEL" for size in _SIZES))
    return {
        "ANTHROPIC_BASE_URL": target.url,
        "ANTHROPIC_AUTH_TOKEN": key,
        **dict.fromkeys(models, target.model),
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(target.context),
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(target.context),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(target.output),
    }


_SIZES = ("OPUS", "SONNET", "HAIKU")


def _claude_shell(target: Target) -> tuple[Block, ...]:
    variables = _claude_variables(target, target.key) | {"ANTHROPIC_AUTH_TOKEN": ""}
    lines = [
        f"export {name}={shlex.quote(value) if value else target.shell_key}"
        for name, value in variables.items()
    ]
    about = "In a shell; the same variables may stand under `env` in `~/.claude/settings.json`:"
    return (Block(about, "\n".join([*lines, "claude"]) + "\n", "sh"),)


CLAUDE_CODE = Agent(
    name="claude-code",
    title="Claude Code",
    about="It speaks Anthropic's API.",
    files=(
        ConfigFile(
            folder=Folder(".claude", "CLAUDE_CONFIG_DIR"),
            names=("settings.json",),
            form="json",
            values=lambda target: {"env": _claude_variables(target, target.key)},
            holds_key=True,
        ),
    ),
    shown=_claude_shell,
    other_names=("claude",),
)


# --- Codex ----------------------------------------------------------------------------------------


def _codex(target: Target) -> dict[str, Any]:
    provider = {"name": LABEL, "base_url": target.openai_url, "wire_api": "responses"}
    if target.has_key:
        provider["env_key"] = API_KEY_VARIABLE
    return {
        "model": target.model,
        "model_provider": PROVIDER,
        "model_context_window": target.context,
        "model_providers": {PROVIDER: provider},
    }


CODEX = Agent(
    name="codex",
    title="Codex",
    about="It speaks OpenAI's Responses API.",
    files=(ConfigFile(Folder(".codex", "CODEX_HOME"), ("config.toml",), "toml", _codex),),
)


# --- OpenCode -------------------------------------------------------------------------------------


def _opencode(target: Target) -> dict[str, Any]:
    model: dict[str, Any] = {
        "name": target.model,
        "limit": {"context": target.context, "output": target.output},
    }
    if target.sees_images:
        model |= {
            "attachment": True,
            "modalities": {"input": ["text", "image"], "output": ["text"]},
        }
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": LABEL,
        "options": {
            "baseURL": target.openai_url,
            "apiKey": target.key_from(f"{{env:{API_KEY_VARIABLE}}}"),
        },
        "models": {target.model: model},
    }
    return {
        "$schema": "https://opencode.ai/config.json",
        "model": f"{PROVIDER}/{target.model}",
        "provider": {PROVIDER: provider},
    }


OPENCODE = Agent(
    name="opencode",
    title="OpenCode",
    about="It speaks OpenAI's chat completions.",
    files=(
        ConfigFile(
            folder=Folder(".config/opencode", "XDG_CONFIG_HOME", "opencode"),
            names=("opencode.json", "opencode.jsonc"),
            form="json",
            values=_opencode,
            kept=("$schema",),
        ),
    ),
)


# --- Crush ----------------------------------------------------------------------------------------


def _crush(target: Target) -> dict[str, Any]:
    model = {
        "id": target.model,
        "name": target.model,
        "context_window": target.context,
        "default_max_tokens": target.output,
        "supports_attachments": target.sees_images,
    }
    provider = {
        "name": LABEL,
        "type": "openai-compat",
        "base_url": target.openai_url,
        "api_key": target.key_from(f"${API_KEY_VARIABLE}"),
        "models": [model],
    }
    chosen = {"model": target.model, "provider": PROVIDER}
    return {
        "$schema": "https://charm.land/crush.json",
        "models": {"large": chosen, "small": chosen},
        "providers": {PROVIDER: provider},
    }


CRUSH = Agent(
    name="crush",
    title="Crush",
    about="It speaks OpenAI's chat completions.",
    files=(
        ConfigFile(
            folder=Folder(".config/crush", "XDG_CONFIG_HOME", "crush"),
            names=("crush.json",),
            form="json",
            values=_crush,
            kept=("$schema",),
        ),
    ),
)


# --- Aider ----------------------------------------------------------------------------------------


def _aider(target: Target) -> dict[str, Any]:
    return {
        "model": f"openai/{target.model}",
        "openai-api-base": target.openai_url,
        "openai-api-key": target.key,
    }


def _aider_windows(target: Target) -> dict[str, Any]:
    window = {
        "max_input_tokens": target.context,
        "max_output_tokens": target.output,
        "max_tokens": target.output,
        "litellm_provider": "openai",
        "mode": "chat",
    }
    return {f"openai/{target.model}": window}


_HOME = Folder("")
AIDER = Agent(
    name="aider",
    title="Aider",
    about="It speaks OpenAI's chat completions, and reads the window from a file of its own.",
    files=(
        ConfigFile(_HOME, (".aider.conf.yml",), "yaml", _aider, holds_key=True),
        ConfigFile(_HOME, (".aider.model.metadata.json",), "json", _aider_windows),
    ),
    needs_tools=False,
)

AGENTS = (CLAUDE_CODE, CODEX, OPENCODE, CRUSH, AIDER)
