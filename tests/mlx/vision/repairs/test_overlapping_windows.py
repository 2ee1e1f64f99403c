"""DeepSeek V4's text doesn't depend on where a prompt is cut, nor on the rows beside it. When mlx_vlm
does so by itself, the first test fails, and the repair can go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.utils import load_model

from tests.model_kinds.kinds import make_folder
from worker.backends.batching import kv_cache
from worker.backends.vision.repairs import repair

PROMPTS = [[(7 * i + j) % 90 for i in range(length)] for j, length in enumerate((90, 37, 62))]
ANSWER = [[(11 * i + j) % 90 for i in range(9)] for j in range(3)]
"""What is fed behind the prompts, a token at a time: two windows and a bit."""


@pytest.fixture(scope="module", autouse=True)
def uncompiled() -> Iterator[None]:
    """Compiled, it would first wait for a C++ compiler."""
    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder("deepseek_v4", tmp_path_factory.mktemp("deepseek_v4") / "m")


@pytest.fixture(scope="module")
def language(path: Path) -> Any:
    model = load_model(path)
    repair(model)
    return model.language_model


def read(language: Any, tokens: list[int], piece: int, cache: Any = None) -> tuple[mx.array, Any]:
    """Logits behind some tokens that are read in pieces of so many, and the cache."""
    cache = make_prompt_cache(language) if cache is None else cache
    for start in range(0, len(tokens), piece):
        logits = language(mx.array([tokens[start : start + piece]]), cache=cache).logits
    return logits[0, -1], cache


def test_without_the_repair_a_cut_changes_what_it_says(path: Path) -> None:
    plain = load_model(path).language_model
    whole, _ = read(plain, PROMPTS[0], len(PROMPTS[0]))
    cut, _ = read(plain, PROMPTS[0], 42)
    assert not mx.allclose(whole, cut, atol=1e-1).item()


@pytest.mark.parametrize("piece", [64, 42, 1])
def test_a_prompt_has_the_same_logits_wherever_it_is_cut(language: Any, piece: int) -> None:
    whole, _ = read(language, PROMPTS[0], len(PROMPTS[0]))
    assert mx.allclose(read(language, PROMPTS[0], piece)[0], whole, atol=1e-3).item()


def test_rows_say_together_what_they_say_alone(language: Any) -> None:
    alone = [
        read(language, [*prompt, *answer], 200)[0]
        for prompt, answer in zip(PROMPTS, ANSWER, strict=True)
    ]
    first, second, third = ([read(language, prompt, 200)[1]] for prompt in PROMPTS)
    batch = kv_cache.merge([*first, *second])
    for layer, more in zip(batch, kv_cache.merge(third), strict=True):
        layer.extend(more)
    for step in range(5):
        language(mx.array([[answer[step]] for answer in ANSWER]), cache=batch)
    left = [kv_cache.extract(layer, 1) for layer in batch]
    assert mx.allclose(read(language, ANSWER[1][5:], 2, left)[0], alone[1], atol=1e-3).item()
    for layer in batch:
        layer.filter(mx.array([0, 2]))
    for step in range(5, 9):
        fed = mx.array([[ANSWER[0][step]], [ANSWER[2][step]]])
        logits = language(fed, cache=batch).logits[:, -1]
    assert mx.allclose(logits, mx.stack([alone[0], alone[2]]), atol=1e-3).item()
