"""Vision kinds whose language models are also loaded as text: Gemma 4 Unified and Kimi K2.5."""

from __future__ import annotations

from tests.model_kinds.configs.vision.features import MOONVIT
from tests.model_kinds.configs.vision.recipe import END, IMAGE, NORM, START, VisionRecipe

KINDS: dict[str, VisionRecipe] = {
    "gemma4_unified": VisionRecipe(
        text={
            "model_type": "gemma4_unified_text",
            "num_hidden_layers": 4,
            "global_head_dim": 32,
            "num_global_key_value_heads": 1,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "use_double_wide_mlp": False,
        },
        tower={
            "model_type": "gemma4_unified_vision",
            "patch_size": 16,
            "pooling_kernel_size": 3,
            "model_patch_size": 48,
            "mm_embed_dim": 32,
            "mm_posemb_size": 64,
            "num_soft_tokens": 9,
            "output_proj_dims": 32,
        },
        own={"hidden_size": 64, "vision_soft_tokens_per_image": 9, "audio_config": None},
        picture=IMAGE,
        names={"image_token": IMAGE, "boi_token": START, "eoi_token": END},
        processor={
            "processor_class": "Gemma4UnifiedProcessor",
            "image_processor": {"max_soft_tokens": 9, "patch_size": 16, "pooling_kernel_size": 3},
        },
    ),
    "kimi_k25": VisionRecipe(
        text={"model_type": "deepseek_v3"},
        tower=MOONVIT,
        picture="<|media_pad|>",
        token="<|media_pad|>",
        marks=("<|media_pad|>", "<|media_start|>", "<|media_end|>"),
        ids={"media_placeholder_token_id": "<|media_pad|>"},
        preprocessor={"patch_size": 14, "in_token_limit": 64, **NORM},
    ),
}
