"""Small models of four kinds of cache, which the tests of the batch loop share."""

from __future__ import annotations

import pytest

from tests.mlx.conftest import Bench, bench_of_kind


@pytest.fixture(scope="module", params=["qwen3", "gemma3_text", "qwen3_5", "llama4"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Keys and values of all tokens, a sliding window, a state, and rows that are fed alone."""
    return bench_of_kind(request.param, tmp_path_factory.mktemp("kinds"))


@pytest.fixture(autouse=True)
def _empty_cache(bench: Bench) -> None:
    bench.forget()
