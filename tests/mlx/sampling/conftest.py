"""The demo chat model, and the libraries' own model of a bench."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx_lm
import mlx_vlm
import pytest

from tests.mlx.conftest import Bench
from worker.models.folders import DEMO_MODELS, describe


@pytest.fixture(scope="module")
def demo() -> Bench:
    record = describe(DEMO_MODELS / "chat", name="demo-chat")
    assert record is not None
    return Bench(record)


@pytest.fixture(scope="module")
def model_of() -> Callable[[Bench], Any]:
    """The library's model of a bench."""
    loaded: dict[str, Any] = {}

    def model(bench: Bench) -> Any:
        path = bench.record.path
        if path not in loaded:
            vision = bench.record.is_vision
            made = mlx_vlm.load(path)[0].language_model if vision else mlx_lm.load(path)[0]
            loaded[path] = made
        return loaded[path]

    return model
