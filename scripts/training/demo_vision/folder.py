"""The model's folder: sizes, what the library's picture processor shall do, and weights in the library's layout."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_vlm.models import qwen2_vl
from mlx_vlm.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor
from transformers import PreTrainedTokenizerFast

from .tokenizer import CONTEXT, PICTURE, PICTURE_END, PICTURE_START, VIDEO, VISION_PAD

PATCH, MERGE = 14, 2
CELL = PATCH * MERGE
# Every picture becomes 14 to 21 cells of 28 pixels: 4 x 4 for a square, 4 x 5 for 4:3, 3 x 6 for 16:9 and 2:1.
LEAST_PIXELS, MOST_PIXELS = 15 * CELL**2, 16800
HIDDEN, HEADS = 128, 2


def model_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Give the sizes: about a million parameters."""
    token = tokenizer.convert_tokens_to_ids
    pairs = HIDDEN // HEADS // 2
    along = pairs * 3 // 8
    return {
        "model_type": "qwen2_vl",
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "torch_dtype": "float32",
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "num_hidden_layers": 3,
        "intermediate_size": 256,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": CONTEXT,
        # A small base: conversations are short, and neighbouring cells of a picture must differ visibly.
        "rope_theta": 10.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [pairs - 2 * along, along, along]},
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": [tokenizer.eos_token_id],
        "pad_token_id": tokenizer.pad_token_id,
        "image_token_id": token(PICTURE),
        "video_token_id": token(VIDEO),
        "vision_start_token_id": token(PICTURE_START),
        "vision_end_token_id": token(PICTURE_END),
        "vision_token_id": token(VISION_PAD),
        "vision_config": _tower_config(),
    }


def _tower_config() -> dict[str, Any]:
    return {
        "model_type": "qwen2_vl",
        "depth": 2,
        "embed_dim": 96,
        "hidden_size": HIDDEN,
        "num_heads": 2,
        "image_size": 112,
        "patch_size": PATCH,
        "mlp_ratio": 2,
        "in_channels": 3,
        "spatial_patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
    }


def processor_config() -> dict[str, Any]:
    """Give the settings of the picture processor."""
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
        "min_pixels": LEAST_PIXELS,
        "max_pixels": MOST_PIXELS,
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": MERGE,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def start_folder(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Qwen2VLProcessor:
    """Write everything but the weights, and give the library's processor made from it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config = model_config(tokenizer)
    generation = {"eos_token_id": config["eos_token_id"], "pad_token_id": config["pad_token_id"]}
    files = {
        "config": config,
        "preprocessor_config": processor_config(),
        "generation_config": generation,
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return Qwen2VLProcessor.from_pretrained(str(folder))


def build_model(config: dict[str, Any]) -> qwen2_vl.Model:
    """Make the library's network with fresh weights."""
    parts = qwen2_vl.ModelConfig.from_dict(dict(config))
    parts.text_config = qwen2_vl.TextConfig.from_dict(parts.text_config)
    parts.vision_config = qwen2_vl.VisionConfig.from_dict(parts.vision_config)
    return qwen2_vl.Model(parts)


def save_weights(model: qwen2_vl.Model, folder: Path) -> None:
    """Write the weights as one file in fp32, under the names that `mlx_vlm.load` expects."""
    weights = {name: value.astype(mx.float32) for name, value in tree_flatten(model.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
