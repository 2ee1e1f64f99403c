"""Vision kinds whose chat templates take strings: the pictures are marks in them, or none at all."""

from __future__ import annotations

from tests.model_kinds.configs.vision.recipe import CODE, NORM, TOWER, VisionRecipe
from tests.model_kinds.tokenizer import VOCABULARY

_PHI_ROPE = {"short_factor": [1.0] * 16, "long_factor": [2.0] * 16}
_MOLMO_MARKS = ("<im_patch>", "<im_col>", "<im_start>", "<im_end>")

KINDS: dict[str, VisionRecipe] = {
    "llava_qwen2": VisionRecipe(
        text={"tie_word_embeddings": False},
        own={"mm_hidden_size": 64, "image_token_index": -200, "tokenizer_model_max_length": 2048},
        fixed={
            "mlx_vlm.models.fastvlm.config.VisionConfig": {
                "layers": [1, 1, 1, 1, 1],
                "embed_dims": [8, 8, 16, 32, 32],
            }
        },
        picture="<image>\n",
        content="text",
        preprocessor={
            **NORM,
            "size": {"shortest_edge": 128},
            "crop_size": {"height": 128, "width": 128},
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "LlavaProcessor",
        },
        flat=True,
    ),
    "minicpmo": VisionRecipe(
        text={
            "model_type": "qwen3",
            "rope_scaling": {"type": "default", "mrope_section": [6, 5, 5]},
        },
        tower={**TOWER, "model_type": "siglip_vision_model"},
        own={**CODE, "query_num": 4, "init_audio": False, "init_tts": False},
        picture="<image>",
        token="",
        marks=("<image>", "</image>", "<unk>", "<slice>", "</slice>", "<|audio_start|>"),
        content="text",
        preprocessor={
            "image_processor_type": "MiniCPMVImageProcessor",
            "feature_extractor_type": "WhisperFeatureExtractor",
            "processor_class": "MiniCPMOProcessor",
            "patch_size": 14,
            "scale_resolution": 56,
            "image_feature_size": 4,
            "norm_mean": [0.5] * 3,
            "norm_std": [0.5] * 3,
        },
        tokenizer={
            "tokenizer_class": "MiniCPMOTokenizerFast",
            "auto_map": {"AutoTokenizer": [None, "tokenization_model.MiniCPMOTokenizerFast"]},
        },
    ),
    "molmo": VisionRecipe(
        text={
            "model_type": "molmo",
            "d_model": 64,
            "n_heads": 2,
            "n_kv_heads": 1,
            "n_layers": 2,
            "mlp_hidden_size": 192,
            "embedding_size": VOCABULARY,
            "additional_vocab_size": 8,
            "rope_theta": 10000.0,
        },
        tower={
            "image_default_input_size": [112, 112],
            "image_emb_dim": 32,
            "image_num_heads": 2,
            "image_num_key_value_heads": 2,
            "image_num_layers": 2,
            "image_head_dim": 16,
            "image_mlp_dim": 64,
            "image_num_pos": 65,
            "vit_layers": [-1, -2],
            "hidden_size": 96,
            "d_model": 64,
        },
        own=CODE,
        picture="",
        content="text",
        token="",
        marks=_MOLMO_MARKS,
        preprocessor={
            "image_processor_type": "MolmoImageProcessor",
            "processor_class": "MolmoProcessor",
            "base_image_input_size": [112, 112],
            "image_token_length_h": 4,
            "image_token_length_w": 4,
            "max_crops": 2,
            "overlap_margins": [2, 2],
        },
    ),
    "moondream3": VisionRecipe(
        text={
            "num_key_value_heads": 2,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_start_layer": 1,
            "rope_dim": 16,
        },
        tower={
            "model_type": "moondream3_vision",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "proj_inner_dim": 64,
            "proj_out_dim": 64,
            "max_crops": 2,
        },
        own={**CODE, "bos_token_id": 0},
        picture="",
        content="text",
        token="",
    ),
    "phi3_v": VisionRecipe(
        text={
            "rope_scaling": {**_PHI_ROPE, "type": "su"},
            "original_max_position_embeddings": 1024,
        },
        own=CODE,
        fixed={
            "mlx_vlm.models.phi3_v.vision.VisionModel.CLIP_VIT_LARGE_PATCH14_336_CONFIG": {
                "num_hidden_layers": 1,
                "intermediate_size": 64,
            }
        },
        picture="<|image_{n}|>",
        token="",
        content="text",
        preprocessor={
            "image_processor_type": "Phi3VImageProcessor",
            "processor_class": "Phi3VProcessor",
            "num_crops": 1,
            "num_img_tokens": 144,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        },
        flat=True,
    ),
    "phi4mm": VisionRecipe(
        text={
            "rope_scaling": {**_PHI_ROPE, "type": "longrope"},
            "original_max_position_embeddings": 1024,
        },
        tower={**TOWER, "model_type": "siglip2_vision_model"},
        own={
            **CODE,
            "mm_hidden_size": 32,
            "image_token_index": -200,
            "max_num_patches": 16,
            "min_num_patches": 4,
            "tie_word_embeddings": False,
            "audio_processor": {
                "config": {
                    "attention_dim": 32,
                    "attention_heads": 2,
                    "num_blocks": 1,
                    "linear_units": 32,
                    "ext_pw_out_channel": 32,
                    "depthwise_seperable_out_channel": 32,
                    "conv_channels": 32,
                }
            },
        },
        picture="<|image_{n}|>",
        content="text",
        preprocessor={
            "image_processor_type": "Phi4MMImageProcessor",
            "processor_class": "Phi4MMProcessor",
        },
        flat=True,
    ),
}
