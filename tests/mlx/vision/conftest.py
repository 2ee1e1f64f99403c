"""Vision models of each family, with random weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripts.training.random_vision_model import make
from tests.mlx.vision.vision_bench import VisionBench
from wire.model_registry import ModelRecord
from worker.models.folders import describe


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelRecord]:
    made: dict[str, ModelRecord] = {}

    def record(family: str) -> ModelRecord:
        if family not in made:
            described = describe(make(tmp_path_factory.mktemp("vision") / family, family))  # type: ignore[arg-type]
            assert described is not None
            made[family] = described
        return made[family]

    return record


@pytest.fixture
def bench(records: Callable[[str], ModelRecord]) -> VisionBench:
    return VisionBench(records("qwen2_vl"))
