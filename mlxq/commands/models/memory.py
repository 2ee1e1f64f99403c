"""``mlxq load``, ``unload``, ``unpin``, ``rm``, and ``mlxq models scan`` and ``register``."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Annotated

import typer

from mlxq.commands.models.listing import Model
from mlxq.errors import Problem
from mlxq.http_client import (
    COMMAND_S,
    MODELS,
    AsJson,
    Client,
    Url,
    complete_model,
    connect,
    interactive,
)
from mlxq.model_rows import Row, find, names_by_id, rows_of
from mlxq.output import Bar, bar, plural, show_reply, size

LOOK_S = 0.5
READ = 100
"""Percent: all weights are in memory."""


def load(
    context: typer.Context,
    model: Model,
    kv: Annotated[
        int | None, typer.Option("--kv", help="Bits of a quantised key-value cache: 4 or 8.")
    ] = None,
    draft: Annotated[
        str | None,
        typer.Option(
            "--draft",
            metavar="MODEL",
            help="A small model of the same vocabulary that guesses ahead for it.",
            autocompletion=complete_model,
        ),
    ] = None,
    pin: Annotated[
        bool, typer.Option("--pin", help="Keep it loaded, also over a restart of the worker.")
    ] = False,
    ttl: Annotated[
        str | None,
        typer.Option(
            "--ttl", help="How long it stays once it is idle: seconds, 10m; -1: no limit."
        ),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Load a model now, so that the first chat doesn't wait for it."""
    with connect(context, url) as client:
        row = find(client, model)
        body = {"model_id": row["id"], "kv_quantization": kv} | ({"pin": True} if pin else {})
        if ttl is not None:
            body["ttl"] = ttl
        if draft is not None:
            body["draft_model"] = find(client, draft)["id"]
        with _load_shown(client, row):
            reply = client.post(f"{MODELS}/load", body, COMMAND_S, fields=("status",))
    said = f"Loaded {row['name']}; it is pinned." if pin else f"Loaded {row['name']}."
    show_reply({"name": row["name"], **reply}, said, as_json)


@contextlib.contextmanager
def _load_shown(client: Client, row: Row) -> Iterator[None]:
    """Show how far the load of a model is, while it is waited for; only on a terminal."""
    ended = threading.Event()
    with bar(f"Loading {row['name']}") as show:
        look = threading.Thread(target=_look, args=(client, row["id"], show, ended), daemon=True)
        if sys.stderr.isatty():
            look.start()
        try:
            yield
        finally:
            ended.set()


def _look(client: Client, model_id: str, show: Bar, ended: threading.Event) -> None:
    while not ended.wait(LOOK_S):
        try:
            row = next((row for row in rows_of(client) if row["id"] == model_id), {})
        except (Problem, RuntimeError):  # RuntimeError: the client was closed meanwhile.
            continue
        if (percent := row.get("load_progress")) is not None:
            show(percent, "getting ready" if percent >= READ else f"of {size(row['size'])} read")


def unpin(context: typer.Context, model: Model, url: Url = None, as_json: AsJson = False) -> None:
    """Let a pinned model be unloaded to make room again."""
    with connect(context, url) as client:
        row = find(client, model)
        reply = client.post(f"{MODELS}/unpin", {"model_id": row["id"]}, fields=("status",))
    show_reply({"name": row["name"], **reply}, f"{row['name']} is not pinned.", as_json)


def unload(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(help="By default all loaded models.", autocompletion=complete_model),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Unload a model, or all of them."""
    with connect(context, url) as client:
        model_id = None if model is None else find(client, model)["id"]
        names = names_by_id(rows_of(client))
        reply = client.post(
            f"{MODELS}/unload", {"model_id": model_id}, COMMAND_S, fields=("models",)
        )
    unloaded = [names.get(one, one) for one in reply.get("models", ())]
    said = f"Unloaded {', '.join(unloaded)}." if unloaded else "It was not loaded."
    if model is None and not unloaded:
        said = "No model was loaded."
    show_reply({**reply, "names": unloaded}, said, as_json)


def scan(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """Scan the model folders again."""
    with connect(context, url) as client:
        reply = client.post(f"{MODELS}/scan", None, COMMAND_S, fields=("models",))
    found = plural(reply.get("models", 0), "model")
    show_reply(reply, f"Scanned the model folders: {found}, see `mlxq list`.", as_json)


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
        body = {"name": name, "path": path}
        reply = client.post(f"{MODELS}/register", body, COMMAND_S, fields=("status",))
    show_reply(reply, f"Registered {name}.", as_json)


def delete(
    context: typer.Context,
    model: Model,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete a model that the service has downloaded."""
    with connect(context, url) as client:
        row = find(client, model)
        name = row["name"]
        if not yes and interactive() and not typer.confirm(f"Delete the files of {name}?"):
            return
        reply = client.post(
            f"{MODELS}/delete", {"model_id": row["id"]}, COMMAND_S, fields=("status",)
        )
    show_reply({"name": name, **reply}, f"Deleted {name}.", as_json)
