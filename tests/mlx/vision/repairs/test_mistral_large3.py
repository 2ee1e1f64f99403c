"""Mistral Large 3 reads the embeddings that it is given, and has a processor. When mlx_vlm has both,
the tests that say what it does by itself fail, and the repairs can go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_vlm.models.mistral3.processing_mistral3 import Mistral3Processor
from mlx_vlm.utils import load_model, load_processor

from tests.model_kinds.kinds import make_folder
from worker.backends.vision.own_code import register_configurations
from worker.backends.vision.repairs import repair

PROMPT = mx.array([[7, 5, 30, 2]])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder("mistral_large3+vision", tmp_path_factory.mktemp("large") / "m")


def logits(language: Any, **inputs: mx.array) -> mx.array:
    return language(PROMPT, **inputs).logits[0, -1]


def test_what_was_embedded_is_read(path: Path) -> None:
    model = load_model(path)
    language = model.language_model
    words = language.model.embed_tokens(PROMPT)
    as_words = logits(language)
    assert mx.allclose(logits(language, inputs_embeds=-words), as_words).item()
    repair(model)
    assert not mx.allclose(logits(language, inputs_embeds=-words), as_words, atol=1e-1).item()
    assert mx.allclose(logits(language, inputs_embeds=words), as_words, atol=1e-4).item()
    assert mx.allclose(logits(language), as_words, atol=1e-4).item()


def test_its_files_are_read_by_the_processor_of_its_tower(path: Path) -> None:
    register_configurations()
    assert isinstance(load_processor(path, trust_remote_code=False), Mistral3Processor)
