"""``mlxq webhooks``: addresses that are told when something ends."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from mlxq.command_group import command_group
from mlxq.http_client import AsJson, Url, connect
from mlxq.output import note, show_json, show_reply, table

ROUTE = "/v1/webhook_endpoints"
EVENTS = (
    *(f"response.{end}" for end in ("completed", "failed", "cancelled", "incomplete")),
    *(f"batch.{end}" for end in ("completed", "failed", "cancelled", "expired")),
    *(f"chat.{end}" for end in ("completed", "failed", "cancelled", "incomplete")),
)
_FIELDS = ("id", "name", "url", "event_types", "all_keys")

Id = Annotated[str, typer.Argument(metavar="ID", help="As `mlxq webhooks list` shows it.")]


def show_endpoints(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """List your webhooks, without their secrets."""
    with connect(context, url) as client:
        rows = client.get(ROUTE, fields=("data",), limit=100)["data"]
    if as_json:
        show_json(rows)
    elif rows:
        table(("ID", "NAME", "ADDRESS", "EVENTS"), map(_row, rows))
    else:
        print("There are no webhooks.")


def _row(endpoint: dict[str, Any]) -> tuple[object, ...]:
    events = endpoint["event_types"]
    told = "all" if set(events) == set(EVENTS) else ", ".join(events)
    whose = " of all keys" if endpoint["all_keys"] else ""
    return (endpoint["id"], endpoint["name"], endpoint["url"], told + whose)


def add(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="https://…")],
    name: Annotated[str, typer.Option("--name", help="A name for people.")] = "webhook",
    event: Annotated[
        list[str] | None,
        typer.Option("--event", help=f"One of {', '.join(EVENTS)}. May be repeated; else all."),
    ] = None,
    all_keys: Annotated[
        bool, typer.Option("--all-keys", help="What ends of every key; for the role admin.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Have an address told when something ends, and print the secret that signs: once."""
    body = {
        "name": name,
        "url": address,
        "event_types": event or list(EVENTS),
        "all_keys": all_keys,
    }
    with connect(context, url) as client:
        added = client.post(ROUTE, body, fields=(*_FIELDS, "signing_secret"))
    if as_json:
        show_json(added)
        return
    note(f"Webhook {added['id']} to {added['url']}; its secret, shown only now:")
    print(added["signing_secret"])


def remove(context: typer.Context, endpoint: Id, url: Url = None, as_json: AsJson = False) -> None:
    """Remove a webhook, and drop what was still to be sent there."""
    with connect(context, url) as client:
        reply = client.delete(f"{ROUTE}/{quote(endpoint, safe='')}")
    show_reply(reply, f"Removed {endpoint}.", as_json)


def send_sample(
    context: typer.Context,
    endpoint: Id,
    event: Annotated[str, typer.Option("--event", help="Which event to send.")] = EVENTS[0],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Send a sample now, and show the status that came back."""
    with connect(context, url) as client:
        path = f"{ROUTE}/{quote(endpoint, safe='')}/test"
        reply = client.post(path, {"event_type": event}, fields=("status_code",))
    show_reply(reply, f"It answered with status {reply['status_code']}.", as_json)


webhooks = command_group(
    "webhooks",
    {
        "list": show_endpoints,
        "add": add,
        "remove": remove,
        "test": send_sample,
    },
    text="Add, list, test and remove addresses that are told when something ends.",
)
