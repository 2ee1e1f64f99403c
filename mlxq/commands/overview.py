"""``mlxq`` without a command: the commands to start with, and whether a service answers."""

from __future__ import annotations

import typer

from mlxq.errors import NoService, Problem
from mlxq.http_client import connect

LOOK_S = 2.0
_TEXT = """\
Chat with the models of an MLX chat queue, and operate it.

  mlxq serve                           run the service on this machine
  mlxq chat "Why is the sky blue?"     ask a question; without one, on a terminal, a conversation
  mlxq batch prompts.jsonl             run a file of prompts
  mlxq models                          list the models
  mlxq status                          queues, workers, loaded models, memory
  mlxq doctor                          find out what is wrong
"""


def overview(context: typer.Context) -> None:
    """Print the commands to start with, and whether a service answers at its address."""
    print(_TEXT)
    print(_service_line(context))
    print("`mlxq --help` lists every command.")


def _service_line(context: typer.Context) -> str:
    try:
        with connect(context, None) as client:
            client.get("/health", limit_s=LOOK_S)
            return f"A service answers at {client.url}."
    except NoService as problem:
        sentence = str(problem)
        return f"{sentence[0].upper()}{sentence[1:]}."
    except Problem as problem:  # a wrong address, or a service that refuses
        return f"The service: {problem}."
