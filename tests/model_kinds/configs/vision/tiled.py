"""Vision kinds whose pictures are cut into tiles, or whose tower has sizes that its library fixes."""

from __future__ import annotations

from typing import Any

from tests.model_kinds.configs.vision.popular import DELTA, QWEN3_TOWER
from tests.model_kinds.configs.vision.recipe import (
    END,
    IMAGE,
    NORM,
    START,
    TOWER,
    Fixed,
    VisionRecipe,
)
from tests.model_kinds.configs.windows import GEMMA3N
from tests.model_kinds.tokenizer import VOCABULARY

_JINA_MARKS = ("<|image|>", "<im_patch>", "<im_start>", "<im_end>", "<im_col>")
_JINA_IDS = tuple(VOCABULARY - len(_JINA_MARKS) + i for i in range(1, len(_JINA_MARKS)))
_DEEPSEEK_MARKS = (
    "<|ref|>",
    "<|/ref|>",
    "<|det|>",
    "<|/det|>",
    "<|grounding|>",
    "<|User|>",
    "<|Assistant|>",
)
"""What the library's processor would else add behind the vocabulary."""
_MINICPM_MARKS = (
    "<image>",
    "</image>",
    "<slice>",
    "</slice>",
    "<image_id>",
    "</image_id>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<unk>",
)
_MINICPM: dict[str, Any] = {
    "text": DELTA,
    "tower": {**TOWER, "model_type": "siglip", "image_size": 112},
    "picture": "<image>./</image>",
    "token": "<|image_pad|>",
    "marks": _MINICPM_MARKS,
    "preprocessor": {"scale_resolution": 112, "max_slice_nums": 2, "patch_size": 14},
}

_GEMMA3N_ADAPTER = "mlx_vlm.models.gemma3n.vision.MobileNetV5MultiScaleFusionAdapter"


def _small_mobilenet() -> list[list[Any]]:
    """Gemma 3n's tower in a few blocks. The last two stages have as many channels as its adapter
    wants."""
    from mlx_vlm.models.gemma3n.config import EdgeResidualConfig as Edge
    from mlx_vlm.models.gemma3n.config import MultiQueryAttentionBlockConfig as Attention
    from mlx_vlm.models.gemma3n.config import UniversalInvertedResidualConfig as Inverted

    return [
        [Edge(3, 16, 2, 1.0)],
        [Inverted(3, 5, 32, 2, 1.0)],
        [Inverted(3, 0, 32, 2, 1.0), Attention(2, 16, 2)],
        [Inverted(3, 0, 1888, 2, 1.0), Attention(2, 16, 1)],
    ]


KINDS: dict[str, VisionRecipe] = {
    "jina_vlm": VisionRecipe(
        text={"additional_vocab_size": 8},
        tower={
            **TOWER,
            "head_dim": 16,
            "vit_layers": [-1, -2],
            "output_size": 64,
            "connector_hidden_size": 64,
        },
        model_type="jvlm",
        picture="<|image|>",
        token="<|image|>",
        marks=_JINA_MARKS,
        content="text",
        fixed={
            "mlx_vlm.models.jina_vlm.image_processor.ImageProcessor.__init__": {
                "__defaults__": (
                    None,
                    (56, 56),
                    14,
                    2,
                    3136,
                    3136 * 4,
                    (0, 0),
                    2,
                    2,
                    True,
                    None,
                    None,
                    *_JINA_IDS,
                )
            }
        },
    ),
    "deepseek_vl_v2": VisionRecipe(
        text={"model_type": "deepseek_v2", "scoring_func": "softmax", "topk_method": "greedy"},
        tower={
            "model_type": "vision",
            "layers": 2,
            "width": 32,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "mlp_ratio": 2.0,
        },
        own={"projector_config": {"input_dim": 32, "n_embed": 64}},
        picture="<image>\n",
        token="<image>",
        marks=("<image>", *_DEEPSEEK_MARKS),
        names={"bos_token": "<|pad|>"},
        processor={
            "candidate_resolutions": [[56, 56], [112, 56], [56, 112]],
            "patch_size": 14,
            "downsample_ratio": 2,
            "processor_class": "DeepseekVLV2Processor",
        },
        content="text",
    ),
    "step3p7": VisionRecipe(
        text={
            "model_type": "step3p5",
            "num_attention_groups": 1,
            "layer_types": ["full_attention", "sliding_attention"],
            "moe_top_k": 2,
            "share_expert_dim": 32,
            "moe_layers_enum": "1",
            "attention_other_setting": {"num_attention_heads": 2, "num_attention_groups": 1},
        },
        tower={"width": 32, "layers": 2, "heads": 2, "image_size": 112, "mlp_ratio": 2.0},
        picture="<im_patch>",
        token="<im_patch>",
        marks=(
            "<im_patch>",
            "<im_start>",
            "<im_end>",
            "<patch_start>",
            "<patch_end>",
            "<patch_newline>",
        ),
        fixed={
            "mlx_vlm.models.step3p7.processing_step3p7.Step3VLProcessor": {
                "image_size": Fixed(112),
                "num_image_feature_size": Fixed(4),
            }
        },
    ),
    "cohere_compass": VisionRecipe(
        text={
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                kind: {"rope_type": "default", "rope_theta": 10000.0}
                for kind in ("sliding_attention", "full_attention")
            },
        },
        tower={
            **QWEN3_TOWER,
            "model_type": "cohere_compass_vision",
            "deepstack_visual_indexes": [0],
        },
        own={"min_pixels": 64 * 64, "max_pixels": 128 * 128, "tie_word_embeddings": False},
        picture="<|VISION_START|><|IMAGE_PAD|><|VISION_END|>",
        token="<|IMAGE_PAD|>",
        marks=("<|VISION_START|>", "<|IMAGE_PAD|>", "<|VISION_END|>"),
        ids={"vision_start_token_id": "<|VISION_START|>", "vision_end_token_id": "<|VISION_END|>"},
        preprocessor={"patch_size": 16, "merge_size": 2},
    ),
    "nemotron_h_nano_omni": VisionRecipe(
        text={
            "model_type": "nemotron_h",
            "hybrid_override_pattern": ["M", "-", "*", "E"],
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "mamba_proj_bias": False,
            "ssm_state_size": 16,
            "conv_kernel": 4,
            "n_groups": 1,
            "use_conv_bias": True,
        },
        tower={
            **TOWER,
            "model_type": "radio",
            "max_resolution": 128,
            "min_num_patches": 4,
            "max_num_patches": 32,
        },
        own={"vit_hidden_size": 32, "projector_hidden_size": 64},
        model_type="NemotronH_Nano_Omni_Reasoning_V3",
        picture="<image>",
        token="<image>",
        marks=("<image>", "<img>", "</img>", "<video>", "<so_embedding>", "<so_start>", "<so_end>"),
        ids={"img_context_token_id": "<image>"},
        preprocessor={
            "norm_mean": [0.5] * 3,
            "norm_std": [0.5] * 3,
            "patch_size": 14,
            "min_num_patches": 4,
            "max_num_patches": 32,
        },
    ),
    "minicpmv4_6": VisionRecipe(own={"insert_layer_id": 0, "slice_mode": True}, **_MINICPM),
    "minicpmv4_7": VisionRecipe(
        own={"insert_layer_id": 0, "slice_mode": True},
        ids={
            "video_token_id": "<|video_pad|>",
            "image_start_id": "<image>",
            "image_end_id": "</image>",
            "slice_start_id": "<slice>",
            "slice_end_id": "</slice>",
        },
        **_MINICPM,
    ),
    "gemma3n": VisionRecipe(
        text={**GEMMA3N, "model_type": "gemma3n_text", "intermediate_size": [96] * 5},
        tower={
            "model_type": "gemma3n_vision",
            "hidden_size": 2048,
            "vocab_size": 8,
            "vocab_offset": VOCABULARY,
        },
        own={
            "hidden_size": 64,
            "vision_soft_tokens_per_image": 16,
            "audio_config": {
                "hidden_size": 32,
                "conf_num_attention_heads": 2,
                "conf_num_hidden_layers": 1,
                "sscp_conv_channel_size": [8, 4],
                "vocab_size": 8,
                "vocab_offset": VOCABULARY + 8,
            },
        },
        picture=IMAGE,
        names={
            "image_token": IMAGE,
            "boi_token": START,
            "eoi_token": END,
            "audio_token": "<|audio|>",
            "boa_token": "<|boa|>",
            "eoa_token": "<|eoa|>",
        },
        marks=(START, IMAGE, END, "<|audio|>", "<|boa|>", "<|eoa|>"),
        ids={"audio_token_id": "<|audio|>"},
        fixed={
            "mlx_vlm.models.gemma3n.vision": {"gemma3n_mobilenet_def": _small_mobilenet},
            f"{_GEMMA3N_ADAPTER}.__init__": {"__defaults__": (0.02, "nearest", False, 1e-5, True)},
            _GEMMA3N_ADAPTER: {"output_resolution": Fixed((4, 4))},
        },
        preprocessor={
            **NORM,
            "image_processor_type": "SiglipImageProcessor",
            "processor_class": "Gemma3nProcessor",
            "size": {"height": 64, "width": 64},
        },
        processor={"processor_class": "Gemma3nProcessor", "image_seq_length": 16},
        tied=True,
    ),
}
