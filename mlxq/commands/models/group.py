"""``mlxq models``: the commands about models under their longer names."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from mlxq.commands.models.listing import show, show_list
from mlxq.commands.models.memory import delete, load, register, scan, unload, unpin
from mlxq.commands.models.pulling import pull
from mlxq.errors import WrongUse
from mlxq.http_client import AsJson, Url
from mlxq.key_option import URL_GIVEN, with_key

models = typer.Typer(
    cls=TyperGroup,
    help="List, show, load, unload, find, download and delete models.",
    invoke_without_command=True,
)


@models.callback()
@with_key
def everything(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        show_list(context, url, as_json)
    elif as_json:
        raise WrongUse(f"write --json after `mlxq models {context.invoked_subcommand}`")
    elif url:
        context.meta[URL_GIVEN] = url


_COMMANDS: dict[str, Any] = {
    "list": show_list,
    "show": show,
    "load": load,
    "unload": unload,
    "unpin": unpin,
    "scan": scan,
    "register": register,
    "pull": pull,
    "download": pull,
    "delete": delete,
    "rm": delete,
}
for _name, _command in _COMMANDS.items():
    models.command(_name)(with_key(_command))
