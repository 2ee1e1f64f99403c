"""Vision kinds made to read documents."""

from __future__ import annotations

from typing import Any

from tests.model_kinds.configs.vision.popular import QWEN_TOWER
from tests.model_kinds.configs.vision.recipe import NORM, TOWER, Fixed, VisionRecipe
from tests.model_kinds.tokenizer import VOCABULARY

_QWEN_FILES: dict[str, Any] = {
    **NORM,
    "min_pixels": 56 * 56,
    "max_pixels": 112 * 112,
    "patch_size": 14,
    "temporal_patch_size": 1,
    "merge_size": 2,
}
_DOTS_MARKS = ("<|img|>", "<|imgpad|>", "<|endofimg|>", "<|video_pad|>")
_HUNYUAN_MARKS = ("<|hy_start|>", "<|hy_end|>", "<|hy_image|>", "<|hy_pad|>")
_HUNYUAN_IDS = {
    name: VOCABULARY - len(_HUNYUAN_MARKS) + i
    for i, name in enumerate(
        ("IM_START_TOKEN_ID", "IM_END_TOKEN_ID", "IMAGE_TOKEN_ID", "PAD_TOKEN_ID")
    )
}
_SAM = {"__defaults__": (128, 32, 1, 2, 16, 4, 256, (), (512, 1024))}
_VIEWS = {
    "images": None,
    "inference_mode": True,
    "image_size": 64,
    "base_size": 128,
    "cropping": True,
    "padding": True,
    "return_tensors": "mx",
}
"""Sizes of DeepSeek-OCR's first tower and of its pictures: the library's code fixes both."""
_DEEPSEEK_FILES: dict[str, Any] = {
    "candidate_resolutions": [[1024, 1024]],
    "patch_size": 16,
    "downsample_ratio": 4,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "processor_class": "DeepseekOCRProcessor",
}
_DEEPSEEK = "mlx_vlm.models.deepseekocr.processing_deepseekocr.DeepseekOCRProcessor"
_SAM_CONFIG = "mlx_vlm.models.deepseekocr.config.SAMViTConfig.__init__"
_DEEPSEEK_OCR: dict[str, Any] = {
    "text": {
        "model_type": "deepseek_v2",
        "qk_rope_head_dim": 0,
        "qk_nope_head_dim": 0,
        "scoring_func": "softmax",
        "topk_method": "greedy",
    },
    "tower": {
        "model_type": "vision",
        "layers": 1,
        "hidden_size": 1024,
        "intermediate_size": 64,
        "num_attention_heads": 2,
    },
    "own": {"projector_config": {"projector_type": "linear", "input_dim": 2048, "n_embed": 64}},
    "picture": "<image>\n",
    "token": "<image>",
    "marks": ("<image>",),
    "content": "text",
}
_OCR_2 = "mlx_vlm.models.deepseekocr_2"
_OCR_2_SIZE = 56
"""Channels of DeepSeek-OCR 2's second tower, a 16th of those that the first one's code fixes. Each of
the 16 or 9 places of a view is then read as 16 of the 256 or 144 for which the code has queries."""

KINDS: dict[str, VisionRecipe] = {
    "dots_ocr": VisionRecipe(
        tower={
            "model_type": "dots_vit",
            "embed_dim": 32,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        picture="<|img|><|imgpad|><|endofimg|>",
        token="<|imgpad|>",
        marks=_DOTS_MARKS,
        ids={"video_token_id": "<|video_pad|>"},
        preprocessor={**_QWEN_FILES, "image_processor_type": "Qwen2VLImageProcessor"},
        fixed={
            "mlx_vlm.models.dots_ocr.processing_dots_ocr.DotsVLProcessor": {
                "image_token_id": Fixed(VOCABULARY - len(_DOTS_MARKS) + 1)
            }
        },
        flat=True,
    ),
    "paddleocr_vl": VisionRecipe(
        text={"hidden_size": 1024, "rope_scaling": {"type": "default", "mrope_section": [4, 6, 6]}},
        tower={**TOWER, "spatial_merge_size": 2},
        picture="<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>",
        token="<|IMAGE_PLACEHOLDER|>",
        marks=("<|IMAGE_START|>", "<|IMAGE_PLACEHOLDER|>", "<|IMAGE_END|>", "<|video|>"),
        ids={
            "video_token_id": "<|video|>",
            "vision_start_token_id": "<|IMAGE_START|>",
            "vision_end_token_id": "<|IMAGE_END|>",
        },
        preprocessor={**_QWEN_FILES, "image_processor_type": "PaddleOCRVLImageProcessor"},
        flat=True,
    ),
    "ernie4_5_moe_vl": VisionRecipe(
        text={
            "moe_num_experts": [4, 4],
            "moe_intermediate_size": [32, 32],
            "moe_layer_start_index": [1, 1],
            "moe_layer_end_index": [1, 1],
            "moe_k": 2,
            "moe_num_shared_experts": 1,
            "num_hidden_layers": 3,
            "rope_scaling": {"type": "default", "mrope_section": [5, 5, 6]},
        },
        tower={
            **QWEN_TOWER,
            "model_type": "DFNRope_vision_transformer",
            "embed_dim": 32,
            "mlp_ratio": 2.0,
        },
        own={"pixel_hidden_size": 32, "hidden_size": 64},
        picture="<|IMAGE_START|><|image@placeholder|><|IMAGE_END|>",
        token="<|IMAGE_PLACEHOLDER|>",
        marks=(
            "<|IMAGE_START|>",
            "<|IMAGE_PLACEHOLDER|>",
            "<|IMAGE_END|>",
            "<|image@placeholder|>",
            "<|VIDEO_START|>",
            "<|VIDEO_END|>",
        ),
        ids={
            "im_patch_id": "<|IMAGE_PLACEHOLDER|>",
            "image_start_token_id": "<|IMAGE_START|>",
            "image_end_token_id": "<|IMAGE_END|>",
        },
        tokenizer={
            "tokenizer_class": "Ernie4_5_VLTokenizer",
            **dict.fromkeys(("unk_token", "bos_token", "cls_token", "mask_token"), "<|pad|>"),
            "sep_token": "<|im_end|>",
        },
        sentencepiece=True,
        flat=True,
    ),
    "hunyuan_vl": VisionRecipe(
        text={
            "attention_head_dim": 32,
            "use_qk_norm": True,
            "rope_scaling": {
                "alpha": 1000.0,
                "beta_fast": 32,
                "beta_slow": 1,
                "factor": 1.0,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "type": "xdrope",
                "xdrope_section": [4, 4, 4, 4],
            },
        },
        tower={
            **TOWER,
            "out_hidden_size": 64,
            "patch_size": 16,
            "max_image_size": 128,
            "spatial_merge_size": 2,
        },
        own={"min_pixels": 64 * 64, "max_pixels": 128 * 128, "tie_word_embeddings": False},
        picture="<|hy_start|><|hy_image|><|hy_end|>",
        token="<|hy_image|>",
        marks=_HUNYUAN_MARKS,
        ids={"image_start_token_id": "<|hy_start|>", "image_end_token_id": "<|hy_end|>"},
        fixed={"mlx_vlm.models.hunyuan_vl.processing_hunyuan_vl.HunYuanVLProcessor": _HUNYUAN_IDS},
        preprocessor=_QWEN_FILES,
    ),
    "deepseekocr": VisionRecipe(
        fixed={_SAM_CONFIG: _SAM, f"{_DEEPSEEK}.__call__": {"__kwdefaults__": _VIEWS}},
        processor=_DEEPSEEK_FILES,
        **_DEEPSEEK_OCR,
    ),
    "deepseekocr_2": VisionRecipe(
        fixed={
            f"{_OCR_2}.config.SAMViTConfig.__init__": {
                "__defaults__": (128, 32, 1, 2, 8, 4, 256, (), (512, 1024))
            },
            f"{_OCR_2}.config.Qwen2EncoderConfig": {
                "layers": Fixed(1),
                "intermediate_size": Fixed(64),
            },
            f"{_OCR_2}.processing_deepseekocr.DeepseekOCR2Processor.__call__": {
                "__kwdefaults__": {**_VIEWS, "image_size": 96, "min_patches": 1, "max_patches": 2}
            },
        },
        processor={**_DEEPSEEK_FILES, "processor_class": "DeepseekOCR2Processor"},
        **_DEEPSEEK_OCR
        | {
            "tower": {"model_type": "vision", "width": {"qwen2-0-5b": {"dim": _OCR_2_SIZE}}},
            "own": {
                "projector_config": {
                    "projector_type": "linear",
                    "input_dim": _OCR_2_SIZE,
                    "n_embed": 64,
                }
            },
        },
    ),
    "unlimited_ocr": VisionRecipe(
        model_type="unlimited-ocr",
        fixed={_SAM_CONFIG: _SAM, f"{_DEEPSEEK}.__call__": {"__kwdefaults__": _VIEWS}},
        processor={**_DEEPSEEK_FILES, "processor_class": "UnlimitedOCRProcessor"},
        **_DEEPSEEK_OCR | {"picture": "<image>"},
    ),
}
