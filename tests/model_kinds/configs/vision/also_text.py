"""Vision kinds whose language models are also loaded as text: Gemma 4 Unified, Kimi and others."""

from __future__ import annotations

import copy

from tests.model_kinds.configs import experts, recurrent, windows
from tests.model_kinds.configs.vision.features import MOONVIT
from tests.model_kinds.configs.vision.popular import QWEN_FILES
from tests.model_kinds.configs.vision.recipe import END, IMAGE, NORM, START, TOWER, VisionRecipe

MINIMAX = copy.deepcopy(experts.KINDS["minimax_m3_vl"].own)
MINIMAX["sparse_attention_config"]["use_sparse_attention"] = True

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
    "kimi_k3": VisionRecipe(
        text={**recurrent.KINDS["kimi_k3"].own, "model_type": "kimi_linear"},
        tower={
            "model_type": "moonvit3d",
            "init_pos_emb_height": 8,
            "init_pos_emb_width": 8,
            "vt_num_attention_heads": 2,
            "vt_num_hidden_layers": 2,
            "vt_hidden_size": 32,
            "vt_intermediate_size": 64,
            "qkv_hidden_size": 32,
            "mm_hidden_size": 32,
            "text_hidden_size": 64,
        },
        token="<|media_pad|>",
        picture="<|media_pad|>",
        marks=("<|media_pad|>", "<|media_begin|>", "<|media_content|>", "<|media_end|>"),
        ids={"media_placeholder_token_id": "<|media_pad|>"},
        preprocessor={"media_proc_cfg": {"patch_size": 14, "in_patch_limit": 64, **NORM}},
    ),
    "minimax_m3_vl": VisionRecipe(
        text={**MINIMAX, "model_type": "minimax_m3"},
        tower={**TOWER, "model_type": "clip_vision_model", "image_size": 112, "projection_dim": 64},
        own={"projector_hidden_size": 64},
        picture="]<]image[>[",
        token="]<]image[>[",
        marks=("]<]image[>[", "]<]video[>[", "]<]start of image[>[", "]<]end of image[>["),
        preprocessor=QWEN_FILES,
    ),
    "muse_glimmer": VisionRecipe(
        text={**windows.KINDS["muse_glimmer"].own, "model_type": "muse_glimmer_text"},
        tower={
            **TOWER,
            "model_type": "muse_glimmer_vision",
            "pos_emb_height": 8,
            "pos_emb_width": 8,
            "layer_types": ["window_attention", "full_attention"],
        },
        own={"out_hidden_size": 128, "projector_hidden_size": 64},
        picture="<|patch|>",
        token="<|patch|>",
        marks=("<|patch|>", "<|image_start|>", "<|image_end|>", "<|video|>"),
        processor={"image_processor": {"max_image_tokens": 16}},
    ),
}
