"""Lists in OpenAI's shape, a page at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def page(
    records: list[T], after: str | None, limit: int, view: Callable[[T], dict[str, Any]]
) -> dict[str, Any]:
    """A page of a list in OpenAI's shape; one after an id that isn't there is empty."""
    rows = [view(record) for record in records]
    if after is not None:
        start = next((n for n, row in enumerate(rows, 1) if row["id"] == after), len(rows))
        rows = rows[start:]
    shown = rows[:limit]
    ends = (
        {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]}
        if shown
        else {"first_id": None, "last_id": None}
    )
    return {"object": "list", "data": shown, **ends, "has_more": len(rows) > limit}
