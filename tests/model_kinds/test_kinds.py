"""Every kind of model through the service's backends, beside the libraries.

A few kinds, one of each cache, are always run; ``MODEL_KINDS=all`` runs all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.model_kinds.expected import NOT_QUANTISED, QUANTISED_IN_PART, TAKES_TURNS
from tests.model_kinds.kinds import ALL, KINDS, SEES, VISION
from tests.model_kinds.rows import CHECKS, OF_VISION, Row, rows_apart
from tests.model_kinds.table import PAGE, line_of, lines_in

QUICK = (
    "qwen3",  # keys and values of all tokens
    "gemma3_text",  # a sliding window in some layers
    "gpt_oss",  # the same with attention sinks
    "qwen3_5",  # a recurrent state in some layers
    "mamba",  # in all of them, and padding spoils it
    "falcon_h1",  # both in one layer
    "llama4",  # chunks, which can't be merged
    "deepseek_v3",  # latent attention
    "afm7",  # layers that share keys, and one position for all rows
    "gpt_bigcode",  # position ids that a batch can't have
    "gemma3n",  # layers that read the keys of another one's cache, also of a quantised one
    "gemma4_text",  # the same, but not of a quantised one
    f"gemma3{SEES}",
    f"qwen3_5{SEES}",
    f"mllama{SEES}",  # cross attention
)
TRIED = KINDS if ALL else QUICK


RowOf = Callable[[str], Row]


@pytest.fixture(scope="module")
def row_of() -> Iterator[RowOf]:
    """The row of a kind. They are made in order, no more than are asked for: all of them take an
    hour, and a test may take ten minutes."""
    made: dict[str, Row] = {}
    with closing(rows_apart(TRIED)) as rows:

        def find(kind: str) -> Row:
            while kind not in made:
                row = next(rows)
                made[row.kind] = row
            return made[kind]

        yield find


@pytest.mark.parametrize("kind", TRIED)
def test_a_kind_loads(kind: str, row_of: RowOf) -> None:
    row = row_of(kind)
    assert row.refused == ""
    assert row.failures.get("process", []) == []


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (kind, check)
        for kind in TRIED
        for check in (*CHECKS, *(OF_VISION if kind in VISION else ()))
    ],
)
def test_a_kind_holds_what_is_promised(kind: str, check: str, row_of: RowOf) -> None:
    assert row_of(kind).failures.get(check, []) == []


@pytest.mark.parametrize("kind", TRIED)
def test_chats_share_a_batch_where_the_kind_can(kind: str, row_of: RowOf) -> None:
    assert (row_of(kind).batch_width > 1) == (kind not in TAKES_TURNS)


@pytest.mark.parametrize("kind", TRIED)
def test_all_layers_are_quantised_where_the_kind_can(kind: str, row_of: RowOf) -> None:
    row = row_of(kind)
    assert row.quantises == (kind not in NOT_QUANTISED)
    assert row.quantises_all == (row.quantises and kind not in QUANTISED_IN_PART)


@pytest.mark.parametrize("kind", TRIED)
def test_the_document_says_of_a_kind_what_this_run_found(kind: str, row_of: RowOf) -> None:
    line = line_of(row_of(kind))
    assert lines_in(PAGE.read_text(encoding="utf-8")).get(line.split(" | ")[0]) == line
