"""``mlxq connect``: print how a program is set up for this service, or write it into its files."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxq.http_client import AsJson, Url, complete_model
from mlxq.http_client import connect as client_of


def complete_name(incomplete: str) -> list[str]:
    """Names for shell completion."""
    from mlxq.connect.agents import AGENTS

    return [agent.name for agent in AGENTS if agent.name.startswith(incomplete)]


Name = Annotated[
    str | None,
    typer.Argument(
        help="The program; without it the names are listed.", autocompletion=complete_name
    ),
]
Write = Annotated[
    bool,
    typer.Option("--write", help="Merge the settings into the program's files, with a backup."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Id or name; by default the model used last, if its chat template has tools.",
        autocompletion=complete_model,
    ),
]


def connect(
    context: typer.Context,
    name: Name = None,
    write: Write = False,
    model: Model = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Print how an agent or another program is set up for this service."""
    # Imported here: the command line starts without the programs' texts.
    from mlxq.connect import setups

    if name is None:
        setups.show_names(as_json, is_alone=not (write or model))
        return
    agent = setups.find_agent(name, write)
    with client_of(context, url) as client:
        setups.set_up(agent, client, model, write=write, as_json=as_json)
