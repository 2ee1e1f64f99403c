"""The suggestions of the models page: each can be asked for by its name and fits its machine."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import pytest

from api.pages import FOLDER
from wire.models import packaged

DATA: dict[str, Any] = json.loads(
    (FOLDER / "models" / "suggestions.json").read_text(encoding="utf-8")
)
ROWS = [(group["memory_gib"], row) for group in DATA["groups"] for row in group["models"]]
FIELDS = {"model", "title", "size", "license", "about", "sees", "thinks", "tools"}


def test_the_list_has_a_date_and_a_group_for_each_usual_size_of_memory() -> None:
    assert date.fromisoformat(DATA["updated"]) >= date(2026, 11, 30)
    assert [group["memory_gib"] for group in DATA["groups"]] == [8, 16, 32, 64, 128]
    assert len({row["model"] for _, row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("memory", "row"), ROWS, ids=[row["model"] for _, row in ROWS])
def test_a_suggestion_says_all_and_fits_three_quarters_of_the_memory(
    memory: int, row: dict[str, Any]
) -> None:
    assert set(row) - {"name"} == FIELDS
    assert row["license"]
    # 1.1 times its size is needed while it is loaded.
    assert 0 < row["size"] * 1.1 <= memory * 0.75 * 2**30
    model = packaged.find(row["model"])
    if model is None:
        assert re.fullmatch(r"mlx-community/[\w.-]+", row["model"])
    else:
        assert (row["name"], row["license"], row["size"]) == (model.name, model.license, model.size)
