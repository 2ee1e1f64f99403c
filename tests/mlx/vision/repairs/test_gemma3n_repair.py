"""Gemma 3n with its tower computes what mlx_lm's computes of the same weights, wherever its prompt is
cut. When mlx_vlm does so by itself, these tests fail, and the repair can go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache as text_cache
from mlx_lm.utils import _get_classes
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.utils import load_model

from tests.model_kinds.kinds import make_folder
from worker.backends.vision.repairs import repair

PROMPT = mx.array([[7 * i % 90 for i in range(150)]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder("gemma3n+vision", tmp_path_factory.mktemp("gemma3n") / "m")


@pytest.fixture(scope="module")
def expected(folder: Path) -> mx.array:
    """mlx_lm's logits behind the prompt."""
    config = json.loads((folder / "config.json").read_text())
    kind, arguments = _get_classes(config)
    model = kind(arguments.from_dict(config))
    weights = mx.load(str(folder / "model.safetensors"))
    named = {name.split("model.")[-1]: weight for name, weight in weights.items() if _is_text(name)}
    names = [name for name, _ in tree_flatten(model.parameters())]
    model.load_weights([(name, named[name.split("model.")[-1]]) for name in names])
    return model(PROMPT, cache=text_cache(model))[0, -1]


def _is_text(name: str) -> bool:
    return name.startswith("language_model.")


def logits(model: Any, piece: int) -> mx.array:
    """Behind the prompt, read in pieces of so many tokens."""
    made, language = model.get_input_embeddings(PROMPT), model.language_model
    cache = make_prompt_cache(language)
    for start in range(0, PROMPT.shape[1], piece):
        part = slice(start, start + piece)
        output = language(
            PROMPT[:, part],
            inputs_embeds=made.inputs_embeds[:, part],
            per_layer_inputs=made.per_layer_inputs[:, part],
            cache=cache,
        )
    return output.logits[0, -1]


@pytest.mark.parametrize("piece", [PROMPT.shape[1], 64, 1])
def test_a_prompt_has_mlx_lms_logits_wherever_it_is_cut(
    folder: Path, expected: mx.array, piece: int
) -> None:
    model = load_model(folder)
    repair(model)
    assert mx.allclose(logits(model, piece), expected, atol=1e-3).item()


def test_without_the_repair_it_has_others(folder: Path, expected: mx.array) -> None:
    found = logits(load_model(folder), PROMPT.shape[1])
    assert not mx.allclose(found, expected, atol=1e-1).item()
