"""Vision kinds whose language model gets a tower's features through a projector, as in LLaVA."""

from __future__ import annotations

from typing import Any

from tests.model_kinds.configs.vision.recipe import NORM, TOWER, VisionRecipe

_PICTURE: dict[str, Any] = {"picture": "<image>", "token": "<image>", "marks": ("<image>",)}
_SIGLIP = {**TOWER, "model_type": "siglip_vision_model"}
_TILES = {
    **NORM,
    "size": {"height": 56, "width": 56},
    "image_grid_pinpoints": [[56, 112], [112, 56]],
}
_GRANITE: dict[str, Any] = {
    "embedding_multiplier": 1.0,
    "attention_multiplier": 0.18,
    "residual_multiplier": 1.0,
    "logits_scaling": 1.0,
}
_GRANITE_FILES = {
    **_TILES,
    "crop_size": {"height": 56, "width": 56},
    "image_processor_type": "LlavaNextImageProcessor",
}
_PATCHES = {"patch_size": 14, "vision_feature_select_strategy": "full", "image_token": "<image>"}

KINDS: dict[str, VisionRecipe] = {
    "llava_onevision": VisionRecipe(
        text={"model_type": "qwen2"},
        tower=_SIGLIP,
        own={
            "image_grid_pinpoints": _TILES["image_grid_pinpoints"],
            "vision_aspect_ratio": "anyres_max_9",
        },
        picture="<image>",
        token="<image>",
        marks=("<image>", "<video>"),
        ids={"video_token_index": "<video>"},
        preprocessor={
            **_TILES,
            "image_processor_type": "LlavaOnevisionImageProcessor",
            "processor_class": "LlavaOnevisionProcessor",
        },
        processor={"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
    ),
    "internvl": VisionRecipe(
        text={"model_type": "qwen3"},
        tower={**TOWER, "model_type": "internvl_vision"},
        own={"downsample_ratio": 0.5, "max_dynamic_patch": 4},
        picture="<IMG_CONTEXT>\n",
        token="<IMG_CONTEXT>",
        marks=("<IMG_CONTEXT>", "<img>", "</img>"),
        preprocessor=NORM,
        processor={"image_seq_length": 4, "processor_class": "InternVLProcessor"},
    ),
    "idefics2": VisionRecipe(
        text={"model_type": "mistral"},
        tower={**TOWER, "model_type": "idefics2", "num_key_value_heads": 2},
        own={
            "perceiver_config": {
                "model_type": "idefics2_perceiver",
                "num_key_value_heads": 1,
                "resampler_depth": 1,
                "resampler_head_dim": 16,
                "resampler_n_heads": 2,
                "resampler_n_latents": 4,
            }
        },
        picture="<image>",
        token="<image>",
        marks=("<image>", "<fake_token_around_image>", "<end_of_utterance>"),
        preprocessor={
            **NORM,
            "image_processor_type": "Idefics2ImageProcessor",
            "processor_class": "Idefics2Processor",
            "size": {"longest_edge": 56, "shortest_edge": 28},
            "do_image_splitting": False,
        },
        processor={"image_seq_len": 4, "processor_class": "Idefics2Processor"},
        content="parts",
    ),
    "granite_vision": VisionRecipe(
        text={"model_type": "granite", **_GRANITE},
        tower=_SIGLIP,
        own={"vision_feature_layer": [-2, -1]},
        preprocessor={**_GRANITE_FILES, "processor_class": "GraniteVisionProcessor"},
        processor=_PATCHES,
        **_PICTURE,
    ),
    "granite4_vision": VisionRecipe(
        text={"model_type": "granitemoehybrid", **_GRANITE, "shared_intermediate_size": 96},
        tower={**_SIGLIP, "hidden_size": 64},
        own={
            "image_grid_pinpoints": _TILES["image_grid_pinpoints"],
            "downsample_rate": "1/2",
            "deepstack_layer_map": [[-1, 0]],
            "spatial_target_layers": [1],
        },
        preprocessor={**_GRANITE_FILES, "processor_class": "Granite4VisionProcessor"},
        processor={**_PATCHES, "downsample_rate": "1/2"},
        **_PICTURE,
    ),
}
