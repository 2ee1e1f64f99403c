"""Vision kinds whose pictures are cut into patches of one size each, as Qwen's are."""

from __future__ import annotations

from tests.model_kinds.configs.vision.popular import QWEN25_TOWER, QWEN_FILES
from tests.model_kinds.configs.vision.recipe import END, START, TOWER, VisionRecipe

KINDS: dict[str, VisionRecipe] = {
    "mage_vl": VisionRecipe(
        text={"model_type": "qwen3"},
        tower={
            **TOWER,
            "hidden_size": 64,
            "patch_size": 14,
            "out_hidden_size": 64,
            "text_hidden_size": 64,
        },
        picture=START + "<|image_pad|>" + END,
        token="<|image_pad|>",
        marks=(START, "<|image_pad|>", END, "<|video_pad|>"),
        preprocessor={**QWEN_FILES, "temporal_patch_size": 1},
    ),
    "zaya1_vl": VisionRecipe(
        text={
            "num_experts": 4,
            "ffn_hidden_size": 64,
            "num_key_value_heads": 2,
            "num_attention_heads": 4,
            "num_query_groups": 2,
            "zaya_mlp_expansion": 32,
            "vision_lora_rank_attn": 4,
            "vision_lora_rank_mlp": 4,
            "head_dim": 32,
            "tie_word_embeddings": True,
        },
        tower={**QWEN25_TOWER, "model_type": "qwen2_5_vl", "embed_dim": 32, "num_heads": 2},
        picture="<image>",
        token="<image>",
        marks=("<image>", START, END),
        preprocessor=QWEN_FILES,
        flat=True,
    ),
}
