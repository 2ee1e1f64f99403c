"""``mlxq cache``: the cached prompts on the workers' disks, and deleting them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlxq.http_client import AsJson, Url, connect, interactive
from mlxq.output import plural, show_json, show_reply, size, table

ROUTE = "/api/engine/prompt-cache"


def cache(
    context: typer.Context,
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete all of them, on disk and in memory.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show the cached prompts on disk, or delete them."""
    with connect(context, url) as client:
        if not clear:
            workers = client.get("/api/engine/status", fields=("workers",))["workers"]
            _show([row for row in workers if row.get("disk_cache")], as_json)
            return
        question = "Delete the cached prompts of all callers?"
        if not yes and interactive() and not typer.confirm(question):
            return
        reply = client.delete(ROUTE)
    done = plural(reply.get("workers", 0), "worker")
    sentence = f"Deleted the cached prompts of {done}."
    if reply.get("status") != "deleted":
        sentence = f"{sentence[:-1]}; some worker hasn't confirmed it yet."
    show_reply(reply, sentence, as_json)


def _show(workers: list[dict[str, Any]], as_json: bool) -> None:
    caches = [{"worker": row["name"], **row["disk_cache"]} for row in workers]
    if as_json:
        show_json(caches)
        return
    if not caches:
        print("No worker keeps prompts on disk.")
        return
    rows = [
        (
            one["folder"],
            one["entries"],
            f"{size(one['bytes'])} of {size(one['cap_bytes'])}",
            one["hits"],
            size(one["bytes_read"]),
            size(one["bytes_written"]),
            one["problem"],
        )
        for one in caches
    ]
    table(("FOLDER", "PROMPTS>", "DISK>", "HITS>", "READ>", "WRITTEN>", ""), rows)
