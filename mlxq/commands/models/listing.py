"""``mlxq list`` and ``mlxq show``: which models there are, and one of them in full."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxq.http_client import AsJson, Url, complete_model, connect
from mlxq.model_rows import (
    Row,
    answers_chats,
    find,
    how_to_get_one,
    names_by_id,
    rows_of,
)
from mlxq.output import clean, show_json, size, table

Model = Annotated[
    str, typer.Argument(help="Name, repository name or id.", autocompletion=complete_model)
]


def show_list(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """List the models of the service."""
    with connect(context, url) as client:
        rows = rows_of(client)
    if as_json:
        show_json(rows)
    elif rows:
        table(("NAME", "SIZE>", "CONTEXT>", "SEES IMAGES", "STATE"), map(_listed, rows))
    else:
        print(f"There is no model: {how_to_get_one()}.")


def _listed(row: Row) -> tuple[object, ...]:
    window = f"{row['context_window']:,}" if row["context_window"] else "-"
    sees = "yes" if row["is_vision"] else "no"
    return row.get("repository") or row["name"], size(row["size"]), window, sees, state_of(row)


def state_of(row: Row) -> str:
    """What a model is doing, in a few words."""
    if row["downloading"]:
        return f"downloading, {row['download_progress']:.0f} %"
    loading = row.get("load_progress")
    words = [
        "" if answers_chats(row) else ", ".join(row["capabilities"]),
        "" if loading is None else f"loading, {loading:.0f} %",
        "loaded" if row["loaded"] else "" if row["downloaded"] else "not complete",
        f"{row['kv_quantization']}-bit cache" if row["kv_quantization"] else "",
        "with a draft model" if row.get("draft_model") else "",
        "pinned" if row.get("pinned") else "",
        "default" if row.get("default") else "",
        "demo" if row.get("demo") else "",
        "adapter" if row.get("base_id") else "",
        "can't be used: see mlxq show" if row.get("problem") else "",
    ]
    return ", ".join(word for word in words if word)


def show(context: typer.Context, model: Model, url: Url = None, as_json: AsJson = False) -> None:
    """Show all that is known about a model."""
    with connect(context, url) as client:
        row = find(client, model)
        names = names_by_id(rows_of(client)) if row.get("base_id") else {}
    if as_json:
        show_json(row)
        return
    details = _details(row) | {"Adapter of": names.get(row.get("base_id") or "")}
    for name, value in details.items():
        if value not in (None, ""):
            print(f"{name:15}{clean(value)}")


def _details(row: Row) -> dict[str, object]:
    sampling = row.get("sampling_defaults") or {}
    return {
        "Name": row["name"],
        "Repository": row.get("repository"),
        "State": state_of(row) or "not loaded",
        "Size": size(row["size"]),
        "Architecture": row["architecture"],
        "Context": f"{row['context_window']:,} tokens" if row["context_window"] else "",
        "For": ", ".join(row.get("capabilities") or ()),
        "Dimensions": row.get("dimensions"),
        "Sees images": "yes" if row["is_vision"] else "no",
        "Takes tools": "yes" if row.get("takes_tools") else "no",
        "Sampling": ", ".join(f"{name} {value:g}" for name, value in sampling.items()),
        "Folder": row["path"],
        "Id": row["id"],
        "Download": row.get("download_error"),
        "Problem": row.get("problem"),
    }
