"""``mlxq keys``: add, list and revoke API keys of a running service, and set quotas of tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from mlxq.command_group import command_group
from mlxq.errors import WrongUse
from mlxq.http_client import AsJson, Url, connect
from mlxq.output import note, show_json, show_reply, table

ROUTE = "/api/engine/keys"
NONE = "none"
TIERS = ("priority", "default", "flex")
_FIELDS = ("id", "name", "roles", "daily_tokens")

Name = Annotated[str, typer.Argument(help="Whose key it is. Keys of one name are one caller.")]


def show_keys(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """List the keys, without their secrets."""
    with connect(context, url) as client:
        rows = client.get(ROUTE, rows=_FIELDS)
    if as_json:
        show_json(rows)
    elif rows:
        table(("ID", "NAME", "ROLES", "TOKENS A DAY>", "ADDED"), map(_row, rows))
    else:
        print("There are no keys: whoever reaches this machine's service may use it.")


def _row(key: dict[str, Any]) -> tuple[object, ...]:
    added = key.get("created_at")
    return (
        key["id"] or "(settings)",
        key["name"],
        ", ".join(key["roles"]),
        "-" if key["daily_tokens"] is None else f"{key['daily_tokens']:,}",
        "-" if added is None else f"{datetime.fromtimestamp(added):%Y-%m-%d %H:%M}",
    )


def add(
    context: typer.Context,
    name: Name,
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role",
            help="chat: chats, batches and files; models: load, download, delete; admin: "
            "everything. May be repeated.",
        ),
    ] = None,
    daily_tokens: Annotated[
        int | None,
        typer.Option("--daily-tokens", min=0, help="Tokens that this name may use in a day (UTC)."),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Add a key and print it: it is never shown again. Without --role it may chat."""
    body = {"name": name, "roles": role or ["chat"], "daily_tokens": daily_tokens}
    with connect(context, url) as client:
        added = client.post(ROUTE, body, fields=(*_FIELDS, "key"))
    if as_json:
        show_json(added)
        return
    note(f"Key {added['id']} of {added['name']} ({', '.join(added['roles'])}), shown only now:")
    print(added["key"])


def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `mlxq keys list` shows it.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key. Within a second no request with it is answered any more."""
    with connect(context, url) as client:
        reply = client.delete(f"{ROUTE}/{quote(key_id, safe='')}")
    show_reply(reply, f"Revoked {key_id}.", as_json)


def set_quota(
    context: typer.Context,
    name: Name,
    tokens: Annotated[str, typer.Argument(help=f"Tokens a day (UTC), or {NONE}.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Set how many tokens the requests of a name may use in a day."""
    if tokens != NONE and not (tokens.isascii() and tokens.isdecimal()):
        raise WrongUse(f"write a number of tokens, or {NONE}")
    daily = None if tokens == NONE else int(tokens)
    with connect(context, url) as client:
        reply = client.post(f"{ROUTE}/quota", {"name": name, "daily_tokens": daily})
    limit = "has no quota" if daily is None else f"may use {daily:,} tokens a day"
    show_reply(reply, f"{name} {limit}.", as_json)


def set_limits(
    context: typer.Context,
    name: Name,
    highest_tier: Annotated[
        str, typer.Option(metavar="|".join((*TIERS, NONE)), help="The highest class of service.")
    ] = NONE,
    most_running: Annotated[
        int | None, typer.Option(min=1, help="How many chats run at once; without it no limit.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Set the limits of a name in the queue; what isn't given has none."""
    if highest_tier not in (*TIERS, NONE):
        raise WrongUse(f"--highest-tier: one of {', '.join((*TIERS, NONE))} is needed")
    tier = None if highest_tier == NONE else highest_tier
    body = {"name": name, "highest_tier": tier, "most_running": most_running}
    with connect(context, url) as client:
        reply = client.post(f"{ROUTE}/limits", body)
    said = f"{name}: highest class {tier or 'any'}, running chats {most_running or 'any number'}."
    show_reply(reply, said, as_json)


keys = command_group(
    "keys",
    {"list": show_keys, "add": add, "revoke": revoke, "quota": set_quota, "limits": set_limits},
    text="Add, list and revoke API keys; set quotas of tokens, and limits in the queue.",
)
