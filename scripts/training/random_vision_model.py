"""Vision models with random weights that load through mlx_vlm like any other: for tests and
benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from scripts.training.random_text_model import train_tokenizer

Family = Literal["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_pad|>")
CHAT_TEMPLATE = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\\n' -}}"
    "{%- if m['content'] is string -%}{{- m['content'] -}}{%- else -%}{%- for part in "
    "m['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- else -%}{{- part['text'] -}}{%- endif -%}{%- endfor -%}{%- endif -%}{{- '<|im_end|>\\n' "
    "-}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
HIDDEN = 128
TEXT = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "intermediate_size": 384,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 8192,
    "rope_theta": 1e6,
    "tie_word_embeddings": False,
}


def make(folder: Path, family: Family = "qwen2_vl", seed: int = 0, side: int = 224) -> Path:
    """Write a model folder of about 1.2 million parameters and return it; pictures are scaled to
    ``side`` squared."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_vlm.utils import get_model_and_args, load_config, update_module_configs

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(2048, MARKS, CHAT_TEMPLATE)
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(_config(family, tokenizer)), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(
        json.dumps(_preprocessor(family, side)), encoding="utf-8"
    )
    config = load_config(folder)
    module, _ = get_model_and_args(config=config, model_path=folder)
    for part in ("text_config", "vision_config", "audio_config"):
        config.setdefault(part, {})
    parts = ["text", "vision", "perceiver", "projector", "audio"]
    model = module.Model(
        update_module_configs(module.ModelConfig.from_dict(config), module, config, parts)
    )
    mx.random.seed(seed)
    weights = {name: _random(name, like) for name, like in tree_flatten(model.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    return folder


def _config(family: Family, tokenizer: Any) -> dict[str, Any]:
    start, end, image, video, pad = (tokenizer.convert_tokens_to_ids(mark) for mark in MARKS)
    config: dict[str, Any] = {
        "model_type": family,
        "architectures": ["random"],
        "vision_start_token_id": start,
        "vision_end_token_id": end,
        "image_token_id": image,
        "video_token_id": video,
        "vision_token_id": pad,
        "eos_token_id": [tokenizer.eos_token_id],
        "pad_token_id": tokenizer.pad_token_id,
        "torch_dtype": "float32",
        "vocab_size": len(tokenizer),
        "vision_config": _vision(family),
    }
    text = {**TEXT, "vocab_size": len(tokenizer)}
    if family == "qwen3_vl":
        rope = {"type": "mrope", "mrope_section": [12, 10, 10]}
        config["text_config"] = {
            **text,
            "model_type": "qwen3_vl_text",
            "head_dim": 64,
            "rope_scaling": rope,
        }
        config["tie_word_embeddings"] = False
        return config
    return {**config, **text, "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]}}


def _vision(family: Family) -> dict[str, Any]:
    common = {
        "model_type": family,
        "depth": 2,
        "num_heads": 2,
        "in_channels": 3,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    if family == "qwen2_vl":
        sizes = {"embed_dim": 64, "hidden_size": HIDDEN, "mlp_ratio": 2, "image_size": 224}
        return {**common, **sizes, "patch_size": 14, "spatial_patch_size": 14}
    sizes = {"hidden_size": 64, "intermediate_size": 128, "out_hidden_size": HIDDEN}
    if family == "qwen2_5_vl":
        window = {"window_size": 112, "fullatt_block_indexes": [1], "image_size": 224}
        return {**common, **sizes, **window, "patch_size": 14, "spatial_patch_size": 14}
    deep = {"num_position_embeddings": 196, "deepstack_visual_indexes": [0]}
    return {**common, **sizes, **deep, "patch_size": 16, "spatial_patch_size": 16}


def _preprocessor(family: Family, side: int) -> dict[str, Any]:
    return {
        "min_pixels": 56 * 56,
        "max_pixels": side * side,
        "patch_size": 16 if family == "qwen3_vl" else 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
    }


def _random(name: str, like: Any) -> Any:
    import mlx.core as mx

    if like.ndim == 2:
        deviation = 1.0 if "embed_tokens" in name else 1.6 / like.shape[-1] ** 0.5
        return (mx.random.normal(like.shape) * deviation).astype(mx.float32)
    return like.astype(mx.float32)
