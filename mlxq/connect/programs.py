"""Programs and libraries: n8n, Open WebUI, the clients of OpenAI and of Anthropic."""

from __future__ import annotations

from mlxq.connect.agent import Agent, Block
from mlxq.connect.target import Target


def _n8n(target: Target) -> tuple[Block, ...]:
    rows = (
        ("Credential", "OpenAI"),
        ("API Key", target.key),
        ("Base URL", target.openai_url),
        ("Node", "OpenAI Chat Model"),
        ("Model, by ID", target.model),
    )
    text = "".join(f"{label + ':':14}{value}\n" for label, value in rows)
    about = "A credential, and the model of the node that an AI Agent is connected to:"
    return (Block(about, text, "text"),)


N8N = Agent(
    name="n8n",
    title="n8n",
    about=(
        "It speaks OpenAI's chat completions. n8n in a container reaches a service on its host by "
        "another name than the loopback address: such a service needs API keys."
    ),
    shown=_n8n,
)


def _open_webui(target: Target) -> tuple[Block, ...]:
    text = (
        f"export OPENAI_API_BASE_URL={target.openai_url}\n"
        f"export OPENAI_API_KEY={target.shell_key}\n"
        f"export DEFAULT_MODELS={target.shell_model}\n"
        "open-webui serve --port 3000\n"
    )
    about = "In a shell, or with the same values under Admin Panel, Settings, Connections:"
    return (Block(about, text, "sh"),)


OPEN_WEBUI = Agent(
    name="open-webui",
    title="Open WebUI",
    about="It speaks OpenAI's chat completions, and lists all models by itself.",
    shown=_open_webui,
    needs_tools=False,
)


def _openai(target: Target) -> tuple[Block, ...]:
    return _client(target, "OPENAI", target.openai_url)


def _anthropic(target: Target) -> tuple[Block, ...]:
    return _client(target, "ANTHROPIC", target.url)


def _client(target: Target, vendor: str, url: str) -> tuple[Block, ...]:
    text = (
        f"export {vendor}_BASE_URL={url}\n"
        f"export {vendor}_API_KEY={target.shell_key}\n"
        f"# model: {target.model}, {target.context} tokens\n"
    )
    return (Block("In a shell:", text, "sh"),)


OPENAI = Agent(
    name="openai",
    title="OpenAI's clients",
    about="For programs with OpenAI's library for Python or Node, which reads these variables.",
    shown=_openai,
    needs_tools=False,
)
ANTHROPIC = Agent(
    name="anthropic",
    title="Anthropic's clients",
    about="For programs with Anthropic's library for Python or Node, which reads these variables.",
    shown=_anthropic,
    needs_tools=False,
)

AGENTS = (N8N, OPEN_WEBUI, OPENAI, ANTHROPIC)
