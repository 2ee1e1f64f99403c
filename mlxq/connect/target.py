"""What a setup is filled in with: the service's address, one of its models, that model's window."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from mlxq.errors import Problem
from mlxq.http_client import Client
from mlxq.model_rows import find, how_to_get_one, rows_of
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
    rows = [row for row in rows_of(client) if row["downloaded"]]
    if not rows:
        raise Problem(f"there is no model: {how_to_get_one()}")
    row = _usual(rows) if wanted is None else find(client, wanted)
    if not row["downloaded"]:
        raise Problem(f"{row['name']} is not complete: `mlxq pull` downloads the rest")
    return Target(
        url=client.url,
        model=_name(row, rows),
        context=row["context_window"],
        sees_images=row["is_vision"],
        takes_tools=row.get("takes_tools", True),  # not told by earlier releases
        has_key=has_key,
        key=YOUR_KEY if has_key else NO_KEY,
    )


def _usual(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One whose chat template has tools; among those the default one, else the first."""
    return min(rows, key=lambda row: (not row.get("takes_tools"), not row.get("default")))


def _name(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The name, or the id where several have the name."""
    alone = sum(other["name"] == row["name"] for other in rows) == 1
    return str(row["name"] if alone else row["id"])
