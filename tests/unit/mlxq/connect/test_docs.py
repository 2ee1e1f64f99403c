"""docs/agents.md shows what ``mlxq connect`` prints for a service at the usual address."""

from __future__ import annotations

import re

import pytest

from mlxq.connect.agent import Agent, Block
from mlxq.connect.agents import AGENTS
from mlxq.connect.target import Target
from mlxq.http_client import DEFAULT_URL
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
TARGET = Target(url=DEFAULT_URL, model="Qwen3-4B-4bit", context=32768)
CODE = re.compile(r"```(\w*)\n(.*?)```", re.S)


def section(agent: Agent) -> str:
    """A program's part of the page."""
    found = re.search(rf"^## {re.escape(agent.title)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"docs/agents.md has no section {agent.title!r}"
    return found[1]


def prose(text: str) -> str:
    return " ".join(CODE.sub("", text).split())


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_the_page_shows_what_the_command_prints(agent: Agent) -> None:
    blocks = agent.blocks(TARGET)
    shown = [Block("", text, language or "text") for language, text in CODE.findall(section(agent))]
    assert shown == [Block("", block.text, block.language) for block in blocks]
    for sentence in (agent.about, *(block.about for block in blocks)):
        assert sentence in prose(section(agent))


def test_the_page_has_the_programs_in_the_order_of_the_list() -> None:
    titles = re.findall(r"^## (.+)$", PAGE, re.M)
    assert [title for title in titles if title in {agent.title for agent in AGENTS}] == [
        agent.title for agent in AGENTS
    ]
