"""What Hunyuan 4 says doesn't depend on the length of what was read first. When mlx_vlm's compiled
indexer counts from the end in every shape, the first test fails, and the repair can go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.utils import load_model

from tests.model_kinds.kinds import make_folder
from worker.backends.vision.repairs import repair

LENGTHS = (150, 40)
"""Tokens of prompts that are beyond the indexer's budget of 32 keys. Whatever was traced before, one
of them has another shape."""


@pytest.fixture(scope="module", autouse=True)
def on_cpu() -> Iterator[None]:
    """GPUs sort all keys, and choose well wherever they are asked to begin."""
    with mx.stream(mx.cpu):
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder("hy_v4", tmp_path_factory.mktemp("hy_v4") / "m")


@pytest.fixture(scope="module")
def expected(path: Path) -> list[mx.array]:
    """What the library says where nothing is compiled."""
    mx.disable_compile()
    try:
        return logits(load_model(path).language_model)
    finally:
        mx.enable_compile()


def logits(language: Any) -> list[mx.array]:
    """Behind prompts of these lengths, each read from its start."""
    found = []
    for length in LENGTHS:
        prompt = mx.array([[7 * i % 90 for i in range(length)]])
        found.append(language(prompt, cache=make_prompt_cache(language)).logits[0, -1])
    mx.eval(found)
    return found


def are_as_expected(found: list[mx.array], expected: list[mx.array], atol: float) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(mx.allclose(one, other, atol=atol).item() for one, other in pairs)


def test_without_the_repair_a_prompt_depends_on_the_one_before(
    path: Path, expected: list[mx.array]
) -> None:
    found = logits(load_model(path).language_model)
    assert not are_as_expected(found, expected, atol=1e-1)


def test_prompts_of_any_length_have_the_logits_of_uncompiled_code(
    path: Path, expected: list[mx.array]
) -> None:
    model = load_model(path)
    repair(model)
    assert are_as_expected(logits(model.language_model), expected, atol=1e-4)
