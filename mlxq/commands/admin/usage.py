"""``mlxq usage``: requests and tokens, by day and model, or by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from mlxq.http_client import AsJson, Url, connect
from mlxq.output import show_json, table

_SUMS = ("REQUESTS>", "PROMPT>", "CACHED>", "COMPLETION>")
_FIELDS = ("owner", "daily_tokens", "total", "models")


def usage(
    context: typer.Context,
    every: Annotated[
        bool, typer.Option("--all", help="Of all keys, by name; for keys with the role admin.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show how many requests and tokens you have used: by day and model, or by key."""
    with connect(context, url) as client:
        if every:
            view = client.get("/api/engine/usage/keys", rows=(*_FIELDS, "today"))
        else:
            view = client.get("/api/engine/usage", fields=(*_FIELDS, "days"))
    if as_json:
        show_json(view)
    elif every:
        table(("NAME", "MODEL", *_SUMS, "TODAY>", "A DAY>"), _by_key(view))
    else:
        table(("DAY (UTC)", "MODEL", *_SUMS), _by_day(view))
        _say_quota(view)


def _by_day(view: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    """The days on which there was something, each with its models, and the sum of all time."""
    for day in view["days"]:
        if day["used"]["requests"]:
            yield (day["day"], "", *_sums(day["used"]))
            yield from (("", row["model"], *_sums(row["used"])) for row in day["models"])
    yield ("ever", "", *_sums(view["total"]))


def _by_key(rows: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        limit = "-" if row["daily_tokens"] is None else f"{row['daily_tokens']:,}"
        yield (row["owner"], "", *_sums(row["total"]), f"{_tokens(row['today']):,}", limit)
        yield from (("", one["model"], *_sums(one["used"]), "", "") for one in row["models"])


def _say_quota(view: dict[str, Any]) -> None:
    if view["daily_tokens"] is not None:
        left = max(0, view["daily_tokens"] - _tokens(view["days"][-1]["used"]))
        print(f"{left:,} of {view['daily_tokens']:,} tokens are left today (UTC).")


def _sums(used: dict[str, int]) -> list[str]:
    names = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")
    return [f"{used[name]:,}" for name in names]


def _tokens(used: dict[str, int]) -> int:
    return used["prompt_tokens"] + used["completion_tokens"]
