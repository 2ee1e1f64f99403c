"""``mlxq models``: list models, and have workers load, download or delete them."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Annotated, Any

import typer

from mlxq.errors import Problem, WrongUse
from mlxq.http_client import (
    COMMAND_S,
    MODEL_FIELDS,
    AsJson,
    Client,
    Url,
    complete_model,
    connect,
    interactive,
)
from mlxq.output import show_json, size, table

POLL_S = 0.5
_MISSING = 20
"""Polls without the model in the list before its download counts as failed."""

models = typer.Typer(
    help="List, load, unload, find, download and delete models.", invoke_without_command=True
)
Model = Annotated[
    str, typer.Argument(help="Id, name or repository name.", autocompletion=complete_model)
]


@models.callback()
def everything(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        show_list(context, url, as_json)
    elif url or as_json:
        raise WrongUse(f"write --url and --json after `mlxq models {context.invoked_subcommand}`")


@models.command("list")
def show_list(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """List the models of the service (the default)."""
    with connect(context, url) as client:
        rows = client.get("/models", rows=MODEL_FIELDS)
    if as_json:
        show_json(rows)
    elif rows:
        table(
            ("NAME", "ID", "ARCHITECTURE", "CONTEXT>", "SIZE>", "SEES", "STATE"),
            [_listed(row) for row in rows],
        )
    else:
        print(
            "There is no model: name a folder with `mlxq serve --models`, or `mlxq models "
            "download`."
        )


def _listed(row: dict[str, Any]) -> tuple[object, ...]:
    state = "loaded" if row["loaded"] else "" if row["downloaded"] else "not downloaded"
    if row["downloading"]:
        state = f"downloading, {row['download_progress']:.0%}"
    if row["kv_quantization"]:
        state = f"{state} {row['kv_quantization']}-bit cache".strip()
    sees = "yes" if row["is_vision"] else "no"
    return (
        row["name"],
        row["id"],
        row["architecture"],
        row["context_window"],
        size(row["size"]),
        sees,
        state,
    )


@models.command()
def load(
    context: typer.Context,
    model: Model,
    kv: Annotated[
        int | None, typer.Option("--kv", help="Bits of a quantised key-value cache: 4 or 8.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Load a model now, so that the first chat doesn't wait for it."""
    with connect(context, url) as client:
        reply = client.post(
            "/models/load", {"model_id": model, "kv_quantization": kv}, limit_s=COMMAND_S
        )
    _show_reply(reply, f"Loaded {model}.", as_json)


@models.command()
def unload(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(help="By default all loaded models.", autocompletion=complete_model),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Unload a model."""
    with connect(context, url) as client:
        reply = client.post("/models/unload", {"model_id": model}, limit_s=COMMAND_S)
    _show_reply(reply, f"Unloaded {model or 'everything'}.", as_json)


@models.command()
def scan(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """Scan the model folders again."""
    with connect(context, url) as client:
        reply = client.post("/models/scan", limit_s=COMMAND_S)
    _show_reply(reply, "Scanned the model folders: `mlxq models` lists what is there.", as_json)


@models.command()
def register(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name.")],
    path: Annotated[
        str, typer.Argument(help="Its folder on the worker's machine, below a model folder.")
    ],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Register a folder as a model."""
    with connect(context, url) as client:
        reply = client.post("/models/register", {"name": name, "path": path}, limit_s=COMMAND_S)
    _show_reply(reply, f"Registered {name}.", as_json)


@models.command()
def download(
    context: typer.Context,
    repository: Annotated[str, typer.Argument(help="The repository's name on the hub.")],
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it is complete.")
    ] = True,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Download a model from the hub into the data folder; Ctrl-C leaves the download running."""
    with connect(context, url) as client:
        reply = client.post("/models/download", {"model_id": repository}, limit_s=COMMAND_S)
        if wait:
            reply = _wait_for_download(client, repository)
    _show_reply(
        reply, f"Downloaded {repository}." if wait else f"Downloading {repository}.", as_json
    )


def _wait_for_download(client: Client, repository: str) -> dict[str, Any]:
    """Wait until a download has ended; the model's record. Raises Problem when it failed."""
    folder, missing = repository.replace("/", "--"), 0
    with _bar(repository) as show:
        while True:
            models = [
                row
                for row in client.get("/models", rows=MODEL_FIELDS)
                if PurePath(row["path"]).name == folder
            ]
            # Between a download's end and the scan of its folder, the list may lack the model.
            missing = 0 if models else missing + 1
            if missing > _MISSING or (
                models and not (models[0]["downloading"] or models[0]["downloaded"])
            ):
                raise Problem(f"the download of {repository} failed: the worker's log says why")
            if models and models[0]["downloaded"]:
                row: dict[str, Any] = models[0]
                return row
            if models:
                show(models[0]["download_progress"])
            time.sleep(POLL_S)


@contextlib.contextmanager
def _bar(name: str) -> Iterator[Callable[[float], None]]:
    """A progress bar from 0 to 1 on a terminal; elsewhere nothing is shown."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task(name, total=1.0)
        yield lambda done: progress.update(task, completed=done)


@models.command()
def delete(
    context: typer.Context,
    model: Model,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete a model that the service has downloaded."""
    if not yes and interactive() and not typer.confirm(f"Delete the files of {model}?"):
        return
    with connect(context, url) as client:
        reply = client.post("/models/delete", {"model_id": model}, limit_s=COMMAND_S)
    _show_reply(reply, f"Deleted {model}.", as_json)


def _show_reply(reply: Any, sentence: str, as_json: bool) -> None:
    if as_json:
        show_json(reply)
    else:
        print(sentence)
