"""Commands of one subject below one name, such as ``mlxq keys add``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer
from typer.core import TyperGroup

from mlxq.errors import WrongUse
from mlxq.http_client import AsJson, Url
from mlxq.key_option import URL_GIVEN, with_key


def command_group(
    name: str, commands: Mapping[str, Callable[..., Any]], *, text: str
) -> typer.Typer:
    """``mlxq NAME COMMAND``; without a command it lists. ``text`` is its help."""
    group = typer.Typer(cls=TyperGroup, help=text, invoke_without_command=True)

    @group.callback()
    @with_key
    def everything(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
        if context.invoked_subcommand is None:
            commands["list"](context, url, as_json)
        elif as_json:
            raise WrongUse(f"write --json after `mlxq {name} {context.invoked_subcommand}`")
        elif url:
            context.meta[URL_GIVEN] = url

    for command, run in commands.items():
        group.command(command)(with_key(run))
    return group
