"""Vision kinds whose projector gives the features in the place of one mark for a picture."""

from __future__ import annotations

from tests.model_kinds.configs.vision.recipe import CODE, NORM, TOWER, VisionRecipe

_SQUARE = {**NORM, "size": {"height": 56, "width": 56}}

KINDS: dict[str, VisionRecipe] = {
    "phi4_siglip": VisionRecipe(
        tower={**TOWER, "model_type": "siglip2_vision_model", "num_patches": 16},
        own={
            "mm_hidden_size": 32,
            "mm_vision_tower": "siglip2-naflex",
            "max_num_patches": 16,
            "min_num_patches": 4,
            "max_position_embeddings": 2048,
        },
        model_type="phi4-siglip",
        picture="<image>",
        token="",
        marks=("<image>",),
    ),
    "llava_bunny": VisionRecipe(
        text={"model_type": "qwen2", "tie_word_embeddings": False},
        tower={**TOWER, "model_type": "siglip_vision_model", "image_size": 378},
        own={**CODE, "mm_hidden_size": 32, "image_token_index": -200},
        model_type="llava-qwen2",
        picture="<image>",
        token="<image>",
        marks=("<image>",),
        flat=True,
    ),
    "multi_modality": VisionRecipe(
        text={"model_type": "llama"},
        tower={
            **TOWER,
            "model_type": "vision",
            "cls": "CLIPVisionTower",
            "params": {
                "high_res_cfg": {"image_size": 56, "pixel_mean": [0.5] * 3, "pixel_std": [0.5] * 3}
            },
        },
        own={
            "num_image_tokens": 16,
            "projector_config": {
                "cls": "MlpProjector",
                "model_type": "aligner",
                "params": {"projector_type": "mlp_gelu", "depth": 2},
            },
        },
        picture="<image>",
        token="<image>",
        marks=("<image>",),
        preprocessor={
            **_SQUARE,
            "image_processor_type": "VLMImageProcessor",
            "processor_class": "VLChatProcessor",
        },
        processor={"num_image_tokens": 16, "processor_class": "VLChatProcessor"},
    ),
}
