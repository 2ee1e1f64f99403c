"""Agents that live in an editor: Zed, Continue, Cline."""

from __future__ import annotations

from typing import Any

from mlxq.connect.agent import Agent, Block, ConfigFile, Folder
from mlxq.connect.target import Target
from mlxq.connect.terminal_agents import PROVIDER
from wire.settings import API_KEY_VARIABLE


def _zed(target: Target) -> dict[str, Any]:
    capabilities = {
        "tools": True,
        "images": target.sees_images,
        "parallel_tool_calls": True,
        "prompt_cache_key": False,
    }
    model = {
        "name": target.model,
        "display_name": target.model,
        "max_tokens": target.context,
        "max_output_tokens": target.output,
        "capabilities": capabilities,
    }
    provider = {"api_url": target.openai_url, "available_models": [model]}
    return {"language_models": {"openai_compatible": {PROVIDER: provider}}}


ZED = Agent(
    name="zed",
    title="Zed",
    about=(
        "It speaks OpenAI's chat completions. It takes the key from the agent panel's settings, or "
        f"from the variable `{API_KEY_VARIABLE}` of the shell that starts it; any will do for a "
        "service without keys."
    ),
    files=(
        ConfigFile(
            folder=Folder(".config/zed", "XDG_CONFIG_HOME", "zed"),
            names=("settings.json",),
            form="json",
            values=_zed,
        ),
    ),
)


def _continue(target: Target) -> dict[str, Any]:
    model = {
        "name": target.model,
        "provider": "openai",
        "model": target.model,
        "apiBase": target.openai_url,
        "apiKey": target.key,
        "roles": ["chat", "edit", "apply"],
        "capabilities": ["tool_use", "image_input"] if target.sees_images else ["tool_use"],
        "defaultCompletionOptions": {
            "contextLength": target.context,
            "maxTokens": target.output,
        },
    }
    return {"name": "Local", "version": "1.0.0", "schema": "v1", "models": [model]}


CONTINUE = Agent(
    name="continue",
    title="Continue",
    about="It speaks OpenAI's chat completions.",
    files=(
        ConfigFile(
            folder=Folder(".continue", "CONTINUE_GLOBAL_DIR"),
            names=("config.yaml",),
            form="yaml",
            values=_continue,
            holds_key=True,
            kept=("name", "version", "schema"),
        ),
    ),
)


def _cline(target: Target) -> tuple[Block, ...]:
    rows = (
        ("API Provider", "OpenAI Compatible"),
        ("Base URL", target.openai_url),
        ("API Key", target.key),
        ("Model ID", target.model),
        ("Supports Images", "yes" if target.sees_images else "no"),
        ("Context Window Size", target.context),
        ("Max Output Tokens", target.output),
    )
    text = "".join(f"{label + ':':21}{value}\n" for label, value in rows)
    return (Block("In its settings, the last three under Model Configuration:", text, "text"),)


CLINE = Agent(
    name="cline",
    title="Cline",
    about="It speaks OpenAI's chat completions, and keeps its settings inside the editor.",
    shown=_cline,
)

AGENTS = (ZED, CONTINUE, CLINE)
