"""``mlxq`` without a command, ``mlxq help`` and ``mlxq --version``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxq.errors import NoService, Problem, WrongUse
from mlxq.http_client import connect

LOOK_S = 2.0
_TEXT = """\
Chat with the models of an MLX chat queue, and operate it.

  mlxq serve                         run the service on this machine
  mlxq pull smollm2                  download a model; also OWNER/NAME of the hub
  mlxq run smollm2                   a conversation with it
  mlxq run smollm2 "Why is the sky blue?"
  mlxq chat "Why is the sky blue?"   ask the default model
  mlxq list, show, rm                the models; one of them; delete one
  mlxq load, unload                  have a model in memory (always: --pin, unpin), or not
  mlxq batch prompts.jsonl           run a file of prompts; `mlxq batches` lists them
  mlxq ps, stop                      what runs and waits; stop it
  mlxq receipt, replay               how a chat was answered; run it again and compare
  mlxq status, logs, doctor          queues and memory; the service's logs; what is wrong
  mlxq keys, usage                   API keys; requests and tokens by day, model and key
  mlxq webhooks                      addresses that are told when something ends
  mlxq connect                       set up another program for this service
"""


def overview(context: typer.Context) -> None:
    """Print the commands, and whether a service answers at its address."""
    print(_TEXT)
    print(_service_line(context))
    print("`mlxq help COMMAND` says more about one, `mlxq --help` about all.")


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


def show_help(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(help="By default all of them.")] = None,
) -> None:
    """Show the help of a command."""
    shown = context.find_root()
    for word in command or ():
        known = getattr(shown.command, "commands", {})
        if word not in known:
            raise WrongUse(f"there is no command {word!r}: `mlxq help` lists those there are")
        if word == "serve":
            from mlxq.service import launch

            launch.main(argv=["--help"], program="mlxq serve")
        shown = type(shown)(known[word], info_name=word, parent=shown)
    print(shown.get_help())
