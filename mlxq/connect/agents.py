"""The programs that can be set up, by name."""

from __future__ import annotations

from mlxq.connect import editors, programs, terminal_agents
from mlxq.connect.agent import Agent
from mlxq.errors import WrongUse
from mlxq.model_rows import close_to

AGENTS: tuple[Agent, ...] = (*terminal_agents.AGENTS, *editors.AGENTS, *programs.AGENTS)


def find(name: str) -> Agent:
    """The program of this name. Raises WrongUse with the name that was probably meant."""
    by_name = {known: agent for agent in AGENTS for known in (agent.name, *agent.other_names)}
    agent = by_name.get(name.casefold())
    if agent is None:
        guess = close_to(name, by_name)
        raise WrongUse(f"there is no setup for {name!r}{guess}: `mlxq connect` lists them")
    return agent
