"""Vision kinds that many Macs run."""

from __future__ import annotations

from typing import Any

from tests.model_kinds.configs.recipe import WINDOW
from tests.model_kinds.configs.vision.recipe import (
    END,
    IMAGE,
    NORM,
    START,
    TOWER,
    VisionRecipe,
    idefics3,
)

MROPE = {"type": "mrope", "mrope_section": [4, 6, 6]}
QWEN_TOWER: dict[str, Any] = {
    "depth": 2,
    "num_heads": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "out_hidden_size": 64,
    "in_channels": 3,
    "patch_size": 14,
    "spatial_patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
QWEN_FILES: dict[str, Any] = {
    **NORM,
    "min_pixels": 56 * 56,
    "max_pixels": 112 * 112,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2VLProcessor",
}
QWEN25_TOWER = {**QWEN_TOWER, "window_size": 56, "fullatt_block_indexes": [1]}
QWEN3_TOWER = {
    **QWEN_TOWER,
    "patch_size": 16,
    "spatial_patch_size": 16,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [],
}
QWEN3_FILES = {**QWEN_FILES, "patch_size": 16, "min_pixels": 64 * 64, "max_pixels": 128 * 128}
_QWEN_MARKS = (START, "<|image_pad|>", END, "<|video_pad|>")
_QWEN: dict[str, Any] = {
    "picture": START + "<|image_pad|>" + END,
    "token": "<|image_pad|>",
    "marks": _QWEN_MARKS,
}
DELTA: dict[str, Any] = {
    "full_attention_interval": 2,
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 1,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_conv_kernel_dim": 4,
    "rope_parameters": {
        "type": "default",
        "mrope_section": [2, 1, 1],
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.25,
    },
}
_GEMMA_NAMES = {"image_token": IMAGE, "boi_token": START, "eoi_token": END}
_GEMMA4_TEXT: dict[str, Any] = {
    "model_type": "gemma4_text",
    "num_hidden_layers": 4,
    "global_head_dim": 32,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "use_double_wide_mlp": False,
}
_GLM_TEXT: dict[str, Any] = {
    "partial_rotary_factor": 0.5,
    "rope_scaling": {"rope_type": "default", "mrope_section": [2, 3, 3]},
}
_GLM_FILES = {
    **QWEN_FILES,
    "size": {"shortest_edge": 56 * 56, "longest_edge": 112 * 112},
    "image_processor_type": "Glm4vImageProcessor",
    "processor_class": "Glm4vProcessor",
}

KINDS: dict[str, VisionRecipe] = {
    "qwen2_vl": VisionRecipe(
        text={"rope_scaling": MROPE, "sliding_window": 32768},
        tower={**QWEN_TOWER, "embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2},
        preprocessor=QWEN_FILES,
        flat=True,
        **_QWEN,
    ),
    "qwen2_5_vl": VisionRecipe(
        text={"rope_scaling": MROPE, "sliding_window": 32768},
        tower=QWEN25_TOWER,
        preprocessor=QWEN_FILES,
        flat=True,
        **_QWEN,
    ),
    "qwen3_vl": VisionRecipe(
        text={"model_type": "qwen3_vl_text", "rope_scaling": MROPE},
        tower={**QWEN3_TOWER, "deepstack_visual_indexes": [0]},
        preprocessor=QWEN3_FILES,
        **_QWEN,
    ),
    "qwen3_vl_moe": VisionRecipe(
        text={"model_type": "qwen3_vl_moe_text", "rope_scaling": MROPE},
        tower={**QWEN3_TOWER, "deepstack_visual_indexes": [0]},
        preprocessor=QWEN3_FILES,
        **_QWEN,
    ),
    "qwen3_5": VisionRecipe(text=DELTA, tower=QWEN3_TOWER, preprocessor=QWEN3_FILES, **_QWEN),
    "qwen3_5_moe": VisionRecipe(text=DELTA, tower=QWEN3_TOWER, preprocessor=QWEN3_FILES, **_QWEN),
    "gemma3": VisionRecipe(
        text={
            "model_type": "gemma3_text",
            "sliding_window_pattern": 2,
            "query_pre_attn_scalar": 32,
            "mm_tokens_per_image": 4,
        },
        tower={**TOWER, "model_type": "siglip_vision_model"},
        own={"hidden_size": 64, "mm_tokens_per_image": 4},
        picture=START,
        names=_GEMMA_NAMES,
        preprocessor={
            **NORM,
            "image_processor_type": "Gemma3ImageProcessor",
            "processor_class": "Gemma3Processor",
            "size": {"height": 56, "width": 56},
        },
        processor={"image_seq_length": 4, "processor_class": "Gemma3Processor"},
        tied=True,
    ),
    "gemma4": VisionRecipe(
        text={**_GEMMA4_TEXT, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 0},
        tower={
            "model_type": "gemma4_vision",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "global_head_dim": 16,
            "position_embedding_size": 64,
            "default_output_length": 9,
        },
        own={"hidden_size": 64, "vision_soft_tokens_per_image": 9, "audio_config": None},
        picture=IMAGE,
        names=_GEMMA_NAMES,
        processor={
            "processor_class": "Gemma4Processor",
            "image_processor": {"max_soft_tokens": 9, "patch_size": 16, "pooling_kernel_size": 3},
        },
    ),
    "lfm2_vl": VisionRecipe(
        text={
            "model_type": "lfm2",
            "num_hidden_layers": 3,
            "layer_types": ["conv", "full_attention", "conv"],
            "block_dim": 64,
            "conv_dim": 64,
            "conv_dim_out": 64,
            "block_ff_dim": 96,
            "block_multiple_of": 32,
            "block_auto_adjust_ff_dim": False,
        },
        tower={**TOWER, "model_type": "siglip2_vision_model", "patch_size": 16, "num_patches": 16},
        own={"projector_hidden_size": 64, "downsample_factor": 2, "vision_feature_layer": -1},
        picture=IMAGE,
        names={
            "image_token": IMAGE,
            "image_start_token": START,
            "image_end_token": END,
            "image_thumbnail": "<|img_thumbnail|>",
        },
        marks=(START, IMAGE, END, "<|img_thumbnail|>"),
        preprocessor={
            **NORM,
            "processor_class": "Lfm2VlProcessor",
            "image_processor_type": "Lfm2VlImageProcessor",
            "min_image_tokens": 4,
            "max_image_tokens": 16,
            "tile_size": 64,
            "encoder_patch_size": 16,
            "downsample_factor": 2,
        },
    ),
    "smolvlm": idefics3("smolvlm_vision", "SmolVLM"),
    "llama4": VisionRecipe(
        text={
            "model_type": "llama4_text",
            "num_experts_per_tok": 1,
            "num_hidden_layers": 4,
            "attention_chunk_size": WINDOW,
            "interleave_moe_layer_step": 2,
            "intermediate_size_mlp": 96,
            "no_rope_layers": [1, 1, 1, 0],
        },
        tower={
            **TOWER,
            "model_type": "llama4_vision_model",
            "initializer_range": 0.02,
            "norm_eps": 1e-5,
            "pixel_shuffle_ratio": 0.5,
            "projector_dropout": 0.0,
            "projector_input_dim": 64,
            "projector_output_dim": 64,
            "rope_theta": 10000.0,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "default",
            "vision_output_dim": 64,
            "intermediate_size": 128,
        },
        picture="<|image|>",
        token="<|patch|>",
        marks=(
            "<|image_start|>",
            "<|image|>",
            "<|patch|>",
            "<|image_end|>",
            "<|tile_x_separator|>",
            "<|tile_y_separator|>",
        ),
        preprocessor={**NORM, "size": {"height": 56, "width": 56}, "max_patches": 16},
    ),
    "glm4v": VisionRecipe(
        text=_GLM_TEXT,
        tower=QWEN_TOWER,
        preprocessor=_GLM_FILES,
        names={"image_token": IMAGE, "video_token": "<|video|>"},
    ),
    "glm_ocr": VisionRecipe(
        text={
            "model_type": "glm_ocr_text",
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [4, 6, 6],
                "partial_rotary_factor": 1.0,
                "rope_theta": 10000.0,
            },
        },
        tower={name: size for name, size in QWEN_TOWER.items() if name != "spatial_patch_size"},
        preprocessor=_GLM_FILES,
        names={"image_token": IMAGE, "video_token": "<|video|>"},
    ),
    "glm4v_moe": VisionRecipe(
        text={**_GLM_TEXT, "use_qk_norm": True},
        tower=QWEN_TOWER,
        preprocessor=_GLM_FILES,
        names={"image_token": IMAGE, "video_token": "<|video|>"},
    ),
}
