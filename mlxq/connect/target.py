"""What a setup is filled in with: the service's address, one of its models, that model's window."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlxq.errors import Problem
from mlxq.http_client import MODEL_FIELDS, Client
from wire.settings import API_KEY_VARIABLE

NO_KEY = "none"
"""What programs that insist on a key send to a service without keys."""
YOUR_KEY = "YOUR_API_KEY"
"""Stands where a text must hold the key itself: what is printed has no secrets."""
_OUTPUT_SHARE = 8
"""An answer may take this part of the window."""
_OUTPUT_MOST = 32768
"""No answer of the service is longer."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service and one of its models, as programs are told of them."""

    url: str
    model: str
    context: int
    sees_images: bool = False
    takes_tools: bool = True
    has_key: bool = False
    key: str = NO_KEY

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def output(self) -> int:
        """How long an answer may be, where a program wants to know."""
        return max(1, min(self.context // _OUTPUT_SHARE, _OUTPUT_MOST))

    def key_from(self, reference: str) -> str:
        """The key where a program can look it up by itself."""
        return reference if self.has_key else NO_KEY

    @property
    def shell_key(self) -> str:
        return self.key_from(f'"${API_KEY_VARIABLE}"')

    @property
    def shell_model(self) -> str:
        return shlex.quote(self.model)


def find_target(client: Client, wanted: str | None, has_key: bool) -> Target:
    """The model to set up. Raises Problem when there is none, or none of that name."""
    rows = [row for row in client.get("/models", rows=MODEL_FIELDS) if row["downloaded"]]
    if not rows:
        raise Problem(
            "there is no model: name a folder with `mlxq serve --models`, or `mlxq models download`"
        )
    row = _usual(client, rows) if wanted is None else _named(rows, wanted)
    return Target(
        url=client.url,
        model=_name(row, rows),
        context=row["context_window"],
        sees_images=row["is_vision"],
        takes_tools=row.get("takes_tools", True),  # not told by earlier releases
        has_key=has_key,
        key=YOUR_KEY if has_key else NO_KEY,
    )


def _usual(client: Client, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One whose chat template has tools; among those the one used last, else the first."""
    active = client.get("/models/active", fields=("model",))["model"] or {}
    return min(rows, key=lambda row: (not row.get("takes_tools"), row["id"] != active.get("id")))


def _named(rows: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    found = [row for field in ("id", "name") for row in rows if row[field] == wanted]
    if found:
        return found[0]
    guess = close_to(wanted, [row["name"] for row in rows])
    raise Problem(f"there is no model {wanted!r}{guess}: `mlxq models` lists those there are")


def _name(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The name, or the id where several have the name."""
    alone = sum(other["name"] == row["name"] for other in rows) == 1
    return str(row["name"] if alone else row["id"])


def close_to(wanted: str, names: Iterable[str]) -> str:
    """The name that was probably meant, in brackets; empty when none is like it."""
    import difflib

    by_fold = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(wanted.casefold(), by_fold, n=1, cutoff=0.5)
    return f" (did you mean {by_fold[close[0]]!r}?)" if close else ""
