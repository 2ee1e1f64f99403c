"""Context windows under every name, and which folders see images."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from worker.models.model_config import (
    DEFAULT_CONTEXT_WINDOW,
    UNLIMITED_CONTEXT_WINDOW,
    context_window,
    sees_images,
)

GEMMA_3 = {
    "model_type": "gemma3",
    "text_config": {"model_type": "gemma3_text", "sliding_window": 1024},
    "vision_config": {"model_type": "siglip_vision_model"},
}
PALIGEMMA = {"model_type": "paligemma", "text_config": {"model_type": "gemma"}}
OMNI = {"thinker_config": {"text_config": {"max_position_embeddings": 65536}}}


@pytest.mark.parametrize(
    ("config", "window"),
    [
        ({"model_type": "llama", "max_position_embeddings": 8192}, 8192),
        ({"model_type": "gpt_bigcode", "n_positions": 8192}, 8192),
        ({"model_type": "dbrx", "max_seq_len": 32768}, 32768),
        ({"model_type": "kimi_linear", "model_max_length": 1048576}, 1048576),
        ({"model_type": "qwen", "seq_length": 8192}, 8192),
        ({"model_type": "gpt2", "n_ctx": 1024}, 1024),
        ({"model_type": "molmo", "max_sequence_length": 4096}, 4096),
        ({"model_type": "x", "text_config": {"max_position_embeddings": 99}}, 99),
        ({"model_type": "internvl_chat", "llm_config": {"max_position_embeddings": 32768}}, 32768),
        ({"model_type": "deepseek_vl_v2", "language_config": {"max_seq_len": 4096}}, 4096),
        ({"model_type": "qwen3_omni_moe", **OMNI}, 65536),
        ({"model_type": "x", "n_positions": 512, "text_config": {"n_positions": 99}}, 512),
        (GEMMA_3, 131072),
        ({"model_type": "gemma3"}, 131072),
        (PALIGEMMA, 8192),
        ({"model_type": "gpt2"}, 1024),
        ({"model_type": "phixtral"}, DEFAULT_CONTEXT_WINDOW),
        ({"model_type": "step3p5"}, 262144),
        ({"model_type": "mixtral"}, 131072),
        ({"model_type": "moondream3"}, 4096),
        ({"model_type": "mamba"}, UNLIMITED_CONTEXT_WINDOW),
        ({"model_type": "falcon_mamba"}, UNLIMITED_CONTEXT_WINDOW),
        ({"model_type": "rwkv7"}, UNLIMITED_CONTEXT_WINDOW),
        ({"model_type": "mamba2", "max_position_embeddings": 4096}, 4096),
        ({}, DEFAULT_CONTEXT_WINDOW),
        ({"model_type": "no such type"}, DEFAULT_CONTEXT_WINDOW),
        ({"model_type": "../../etc/passwd"}, DEFAULT_CONTEXT_WINDOW),
        ({"max_position_embeddings": None, "n_positions": True}, DEFAULT_CONTEXT_WINDOW),
        ({"max_position_embeddings": "4096", "model_max_length": 1e30}, DEFAULT_CONTEXT_WINDOW),
        ({"max_position_embeddings": -1, "text_config": 5}, DEFAULT_CONTEXT_WINDOW),
    ],
)
def test_the_context_window_is_found_under_every_name_and_by_default(
    config: dict[str, Any], window: int
) -> None:
    assert context_window(config) == window


def folder_of(path: Path, *weights: str, processor: bool) -> Path:
    path.mkdir()
    header = json.dumps(
        {name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in weights}
    ).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    if processor:
        (path / "preprocessor_config.json").write_text("{}", encoding="utf-8")
    return path


TOWER, TEXT = "vision_tower.patch_embedding.weight", "model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("config", "weights", "processor", "sees"),
    [
        ({"model_type": "gemma3", "vision_config": {}}, (TOWER, TEXT), True, True),
        ({"model_type": "gemma3", "vision_config": None}, (TEXT,), True, False),
        ({"model_type": "gemma4", "vision_config": {}}, (TEXT,), False, False),
        ({"model_type": "gemma4", "vision_config": {}}, (TOWER, TEXT), False, False),
        ({"model_type": "llava_next", "vision_config": {}}, (TOWER, TEXT), False, True),
        ({"model_type": "qwen3_5_text"}, (TEXT,), False, False),
        ({"model_type": "llama"}, ("model.image_words.weight",), True, False),
        ({"model_type": "phi3_v"}, ("model.vision_embed_tokens.wte.weight",), True, True),
        ({"model_type": "molmo"}, ("model.vision_backbone.weight",), True, True),
        ({"model_type": "moondream1"}, ("vision.blocks.0.attn.qkv.weight",), False, True),
        ({"model_type": "llava_qwen2"}, ("model.vision_tower.weight",), False, True),
        (
            {"model_type": "qwen3_omni_moe", "thinker_config": {"vision_config": {}}},
            ("thinker.visual.blocks.0.weight",),
            True,
            True,
        ),
    ],
)
def test_a_model_sees_images_with_a_tower_among_its_weights(
    tmp_path: Path, config: dict[str, Any], weights: tuple[str, ...], processor: bool, sees: bool
) -> None:
    assert sees_images(config, folder_of(tmp_path / "m", *weights, processor=processor)) is sees


def test_without_readable_weights_the_config_decides(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 16)
    assert sees_images({"model_type": "gemma3", "vision_config": {}}, tmp_path)
    assert not sees_images({"model_type": "gemma3"}, tmp_path)
    assert sees_images({"model_type": "molmo"}, tmp_path)
    assert not sees_images({"model_type": "cohere2_moe"}, tmp_path)
