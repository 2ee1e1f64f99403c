"""``mlxq load``, ``unload``, ``rm``, and ``mlxq models scan`` and ``register``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxq.commands.models.listing import Model
from mlxq.http_client import (
    COMMAND_S,
    MODELS,
    AsJson,
    Url,
    complete_model,
    connect,
    interactive,
)
from mlxq.model_rows import find, names_by_id, rows_of
from mlxq.output import plural, show_reply


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
        row = find(client, model)
        body = {"model_id": row["id"], "kv_quantization": kv}
        reply = client.post(f"{MODELS}/load", body, COMMAND_S, fields=("status",))
    show_reply({"name": row["name"], **reply}, f"Loaded {row['name']}.", as_json)


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
