"""Prompts whose images no token stands for: another image is never answered from their cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from scripts.training.random_vision_model import make
from tests.mlx.vision.vision_bench import GREEDY, VisionBench
from worker.backends.batching.backend import BatchBackend
from worker.models.folders import describe


def test_another_image_of_the_same_size_is_seen_and_nothing_is_reused(tmp_path: Path) -> None:
    record = describe(make(tmp_path / "m"))
    assert record is not None
    marked = VisionBench(record)
    right = [marked.answer([marked.shown("what is this?", seed)], **GREEDY) for seed in range(3)]
    bench = VisionBench(record)
    model: Any = cast(BatchBackend, bench.backend)._model
    model._text.vision.image_token = model._embedder._image_token = None
    for seed in (0, 1, 2, 0):
        chat = bench.chat([bench.shown("what is this?", seed)], **GREEDY)
        bench.start(chat)
        bench.run()
        assert chat.cached_tokens == 0
        assert chat.generated == right[seed]
