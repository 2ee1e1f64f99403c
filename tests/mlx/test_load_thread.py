"""Models that another thread has opened compute on this one."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.mlx.conftest import Bench
from tests.mlx.vision.vision_bench import VisionBench
from wire.model_registry import ModelRecord
from worker.models.folders import DEMO_MODELS, describe


def opened_elsewhere(record: ModelRecord, kind: type[Bench] = Bench, **options: Any) -> Bench:
    benches: list[Bench] = []
    thread = threading.Thread(target=lambda: benches.append(kind(record, **options)))
    thread.start()
    thread.join()
    return benches[0]


@pytest.mark.parametrize("kv", [None, 8])
def test_a_text_model_says_the_same(record: ModelRecord, kv: int | None) -> None:
    here = Bench(record, kv).answer("hello there", seed=3)
    assert opened_elsewhere(record, kv=kv).answer("hello there", seed=3) == here


def test_a_vision_model_says_the_same() -> None:
    record = describe(DEMO_MODELS / "vision")
    assert record is not None
    said = []
    for bench in (VisionBench(record), opened_elsewhere(record, VisionBench)):
        assert isinstance(bench, VisionBench)
        said.append(bench.answer([bench.shown("What is this?", 1)], seed=3))
    assert said[0] == said[1]
