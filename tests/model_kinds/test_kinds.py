"""Every kind of model through the service's backends, beside the libraries.

A few kinds, one of each cache, are always run; ``MODEL_KINDS=all`` runs all of them.
"""

from __future__ import annotations

import functools
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.model_kinds.kinds import (
    NOT_QUANTISED,
    NOT_RUN,
    QUANTISED_IN_PART,
    SEES,
    TAKES_TURNS,
    TEXT,
    VISION,
)
from tests.model_kinds.rows import CHECKS, OF_VISION, Row, rows_apart
from tests.model_kinds.table import PAGE, line_of, lines_in, not_run_lines

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
KINDS = (*TEXT, *VISION) if os.environ.get("MODEL_KINDS") == "all" else QUICK


@functools.cache
def rows() -> dict[str, Row]:
    return {row.kind: row for row in rows_apart(KINDS)}


def row_of(kind: str) -> Row:
    return rows()[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_loads(kind: str) -> None:
    row = row_of(kind)
    assert row.refused == ""
    assert row.failures.get("process", []) == []


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (kind, check)
        for kind in KINDS
        for check in (*CHECKS, *(OF_VISION if kind in VISION else ()))
    ],
)
def test_a_kind_holds_what_is_promised(kind: str, check: str) -> None:
    assert row_of(kind).failures.get(check, []) == []


@pytest.mark.parametrize("kind", KINDS)
def test_chats_share_a_batch_where_the_kind_can(kind: str) -> None:
    assert (row_of(kind).batch_width > 1) == (kind not in TAKES_TURNS)


@pytest.mark.parametrize("kind", KINDS)
def test_all_layers_are_quantised_where_the_kind_can(kind: str) -> None:
    row = row_of(kind)
    assert row.quantises == (kind not in NOT_QUANTISED)
    assert row.quantises_all == (row.quantises and kind not in QUANTISED_IN_PART)


@pytest.mark.parametrize("kind", KINDS)
def test_the_document_says_of_a_kind_what_this_run_found(kind: str) -> None:
    line = line_of(row_of(kind))
    assert lines_in(PAGE.read_text(encoding="utf-8")).get(line.split(" | ")[0]) == line


def test_the_document_has_every_kind_and_why_some_are_not_run() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(lines_in(page)) == len(TEXT) + len(VISION)
    assert not_run_lines() in page


def test_every_model_type_of_the_library_has_a_configuration_or_a_reason() -> None:
    spec = find_spec("mlx_lm.models")
    assert spec is not None
    (folder,) = spec.submodule_search_locations or ()
    types = {
        file.stem
        for file in Path(folder).glob("*.py")
        if "\nclass Model(" in file.read_text(encoding="utf-8")
    }
    configured = {recipe.model_type or kind for kind, recipe in TEXT.items()}
    not_run = {kind for kind in NOT_RUN if not kind.endswith(SEES)}
    assert types - configured - {"bailing_moe_v3"} == not_run
