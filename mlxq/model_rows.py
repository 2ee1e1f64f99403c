"""The models of the service as commands see them: found by any name, with a guess for a wrong one.

Knows the list of models and the names of packaged ones, no command.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlxq.errors import Problem
from mlxq.http_client import MODEL_FIELDS, MODELS, Client
from wire.models import lookup, packaged

Row = dict[str, Any]
DEFAULT = "default"
"""What stands for the default model, unless a model has this name."""


def rows_of(client: Client) -> list[Row]:
    """All models."""
    rows: list[Row] = client.get(MODELS, rows=MODEL_FIELDS)
    return rows


def find(client: Client, wanted: str) -> Row:
    """The model with this id, name, repository name or alias. Raises Problem with a guess."""
    rows = rows_of(client)
    if (row := among(rows, wanted)) is not None:
        return row
    if wanted == DEFAULT:
        return default_of(rows)
    if packaged.find(wanted) is not None:
        raise Problem(f"{wanted} is not here yet: `mlxq pull {wanted}` gets it")
    names = [row["name"] for row in rows]
    guess = close_to(wanted, [*names, *packaged_names()])
    raise Problem(f"there is no model {wanted!r}{guess}: `mlxq list` lists those there are")


def among(rows: Iterable[Row], wanted: str) -> Row | None:
    """The model of these that a name stands for."""
    return lookup.find(rows, wanted, dict.get)


def default_of(rows: Iterable[Row], vision: bool = False) -> Row:
    """The default model; one that sees images where that is needed. Raises Problem."""
    ready = [row for row in rows if row["downloaded"] and answers_chats(row)]
    fit = [row for row in ready if row["is_vision"]] if vision else ready
    if not fit:
        what = "vision model" if ready else "model"
        raise Problem(f"there is no {what}: {how_to_get_one()}")
    return min(fit, key=lambda row: (not row.get("default"), not row["loaded"], row["is_vision"]))


def answers_chats(row: Row) -> bool:
    """Whether a model does; a service of the release before has no others."""
    return "chat" in row.get("capabilities", ["chat"])


def how_to_get_one() -> str:
    name = packaged.PACKAGED_MODELS[0].aliases[0]
    return f"`mlxq pull {name}` gets one, `mlxq serve --models FOLDER` serves those you have"


def names_by_id(rows: Iterable[Row]) -> dict[str, str]:
    return {row["id"]: row["name"] for row in rows}


def close_to(wanted: str, names: Iterable[str]) -> str:
    """The name that was probably meant, in brackets; empty when none is like it."""
    import difflib

    by_fold = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(wanted.casefold(), by_fold, n=1, cutoff=0.5)
    return f" (did you mean {by_fold[close[0]]!r}?)" if close else ""


def packaged_names() -> list[str]:
    """Every name that a packaged model can be pulled by."""
    return [name for m in packaged.PACKAGED_MODELS for name in (m.name, *m.aliases)]
