"""Vision kinds whose pictures are features in place of tokens: Llava, Pixtral, Idefics and others."""

from __future__ import annotations

from typing import Any

from tests.model_kinds.configs.recipe import EXPERTS, SIZES
from tests.model_kinds.configs.vision.popular import MROPE, QWEN3_FILES, QWEN3_TOWER
from tests.model_kinds.configs.vision.recipe import IMAGE, NORM, TOWER, VisionRecipe, idefics3

MOONVIT = {
    "model_type": "moonvit",
    "depth": 2,
    "embed_dim": 32,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "patch_size": 14,
    "init_pos_emb_height": 8,
    "init_pos_emb_width": 8,
}
_PIXTRAL: dict[str, Any] = {
    "picture": "[IMG]",
    "token": "[IMG]",
    "marks": ("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
}
_PIXTRAL_TOWER = {
    **TOWER,
    "model_type": "pixtral",
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "image_size": 112,
}
_PIXTRAL_FILES = {
    **NORM,
    "image_processor_type": "PixtralImageProcessor",
    "processor_class": "PixtralProcessor",
    "patch_size": 14,
    "size": {"longest_edge": 56},
}
_MISTRAL3: dict[str, Any] = {
    **_PIXTRAL,
    "tower": _PIXTRAL_TOWER,
    "own": {"spatial_merge_size": 2, "vision_feature_layer": -1},
    "preprocessor": _PIXTRAL_FILES,
    "processor": {
        "patch_size": 14,
        "spatial_merge_size": 2,
        "processor_class": "PixtralProcessor",
    },
}
_LLAVA: dict[str, Any] = {
    "picture": "<image>",
    "token": "<image>",
    "marks": ("<image>",),
    "tower": {**TOWER, "model_type": "clip_vision_model"},
    "own": {"vision_feature_layer": -2, "vision_feature_select_strategy": "default"},
}
_LLAVA_FILES = {
    **NORM,
    "size": {"shortest_edge": 56},
    "crop_size": {"height": 56, "width": 56},
    "image_processor_type": "CLIPImageProcessor",
    "processor_class": "LlavaProcessor",
}
_MOLMO2_ATTENTION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
_MOLMO2_IDS = {
    "image_patch_id": "<im_patch>",
    "image_low_res_id": "<im_low>",
    "image_start_token_id": "<im_start>",
    "low_res_image_start_token_id": "<low_res_im_start>",
    "image_end_token_id": "<im_end>",
    "image_col_id": "<im_col>",
}
_OMNI_NAMES = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "audio_token": "<|audio_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}

KINDS: dict[str, VisionRecipe] = {
    "aya_vision": VisionRecipe(
        text={"model_type": "cohere2", "sliding_window_pattern": 2},
        tower={**TOWER, "model_type": "siglip_vision_model"},
        own={"alignment_intermediate_size": 64, "downsample_factor": 2, "max_splits_per_img": 1},
        picture="<image>",
        token="<|IMG_PATCH|>",
        marks=("<image>", "<|IMG_PATCH|>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "TILE_GLOBAL"),
        preprocessor={
            **NORM,
            "image_processor_type": "GotOcr2ImageProcessor",
            "processor_class": "AyaVisionProcessor",
            "size": {"height": 56, "width": 56},
            "crop_to_patches": False,
        },
        processor={"patch_size": 28, "img_size": 56, "downsample_factor": 1},
    ),
    "idefics3": idefics3("idefics3", "Idefics3"),
    "internvl_chat": VisionRecipe(
        text={"model_type": "qwen2", "use_sliding_window": False},
        tower={**TOWER, "model_type": "intern_vit_6b", "qkv_bias": True},
        own={"downsample_ratio": 0.5},
        picture="<image>\n",
        token="<IMG_CONTEXT>",
        marks=("<IMG_CONTEXT>", "<img>", "</img>"),
        preprocessor=NORM,
    ),
    "kimi_vl": VisionRecipe(
        text={"model_type": "deepseek_v3"},
        tower=MOONVIT,
        picture="<|media_pad|>",
        token="<|media_pad|>",
        marks=("<|media_pad|>", "<|media_start|>", "<|media_end|>"),
        preprocessor={"patch_size": 14, "in_token_limit": 64, **NORM},
    ),
    "llava_next": VisionRecipe(
        text={"model_type": "mistral"},
        preprocessor={
            **_LLAVA_FILES,
            "image_processor_type": "LlavaNextImageProcessor",
            "image_grid_pinpoints": [[56, 112], [112, 56]],
        },
        processor={
            "patch_size": 14,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
            "image_token": "<image>",
        },
        **_LLAVA,
    ),
    "mistral3": VisionRecipe(text={"model_type": "mistral", "use_qk_norm": False}, **_MISTRAL3),
    "mistral_large3": VisionRecipe(text={"model_type": "mistral_large3"}, **_MISTRAL3),
    "mllama": VisionRecipe(
        text={"num_hidden_layers": 4, "cross_attention_layers": [1, 3]},
        tower={
            **TOWER,
            "max_num_tiles": 4,
            "num_global_layers": 1,
            "intermediate_layers_indices": [0, 1],
            "vision_output_dim": 96,
        },
        picture=IMAGE,
        names={"image_token": IMAGE, "bos_token": "<|pad|>"},
        preprocessor={
            **NORM,
            "image_processor_type": "MllamaImageProcessor",
            "processor_class": "MllamaProcessor",
            "size": {"height": 56, "width": 56},
            "max_image_tiles": 4,
        },
    ),
    "paligemma": VisionRecipe(
        text={"model_type": "gemma"},
        tower={**TOWER, "model_type": "siglip_vision_model", "projection_dim": 64},
        own={"hidden_size": 64, "projection_dim": 64},
        picture="<image>",
        token="<image>",
        marks=("<image>",),
        names={"image_token": "<image>", "bos_token": "<|pad|>"},
        preprocessor={
            **NORM,
            "image_processor_type": "SiglipImageProcessor",
            "processor_class": "PaliGemmaProcessor",
            "size": {"height": 56, "width": 56},
            "image_seq_length": 16,
        },
    ),
    "pixtral": VisionRecipe(
        text={"model_type": "mistral"},
        tower=_PIXTRAL_TOWER,
        own={"vision_feature_layer": -1},
        preprocessor=_PIXTRAL_FILES,
        processor={"patch_size": 14, "processor_class": "PixtralProcessor"},
        **_PIXTRAL,
    ),
    "molmo2": VisionRecipe(
        text={"additional_vocab_size": 8},
        own={
            "vit_config": {
                **_MOLMO2_ATTENTION,
                "num_hidden_layers": 2,
                "image_num_pos": 729,
                "image_default_input_size": [378, 378],
            },
            "adapter_config": {
                **_MOLMO2_ATTENTION,
                "text_hidden_size": 64,
                "vit_layers": [-1, -2],
            },
        },
        picture=IMAGE,
        token="",
        marks=(IMAGE, *_MOLMO2_IDS.values()),
        ids=_MOLMO2_IDS,
        preprocessor={
            **NORM,
            "image_processor_type": "Molmo2ImageProcessor",
            "processor_class": "Molmo2Processor",
            "size": {"height": 378, "width": 378},
            "patch_size": 14,
            "pooling_size": [2, 2],
            "max_crops": 8,
            "overlap_margins": [4, 4],
        },
    ),
    "qwen3_omni_moe": VisionRecipe(
        text={"model_type": "qwen3_omni_moe_text", "rope_scaling": MROPE},
        tower={
            **QWEN3_TOWER,
            "model_type": "qwen3_omni_moe_vision_encoder",
            "deepstack_visual_indexes": [0],
        },
        own={
            "audio_config": {
                "d_model": 32,
                "encoder_layers": 1,
                "num_hidden_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 64,
                "output_dim": 64,
                "downsample_hidden_size": 16,
            }
        },
        section="thinker_config",
        beside={
            "enable_audio_output": False,
            "talker_config": {"text_config": {**SIZES, **EXPERTS}},
        },
        picture="<|vision_start|><|image_pad|><|vision_end|>",
        token="<|image_pad|>",
        marks=tuple(_OMNI_NAMES.values()),
        names=_OMNI_NAMES,
        ids={
            "video_token_id": "<|video_pad|>",
            "audio_token_id": "<|audio_pad|>",
            "audio_start_token_id": "<|audio_start|>",
            "audio_end_token_id": "<|audio_end|>",
            "vision_start_token_id": "<|vision_start|>",
            "vision_end_token_id": "<|vision_end|>",
        },
        preprocessor={
            **QWEN3_FILES,
            "processor_class": "Qwen3OmniMoeProcessor",
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": 128,
        },
    ),
}
