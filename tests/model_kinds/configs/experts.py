"""Mixtures of experts with a plain key-value cache, and latent attention."""

from __future__ import annotations

from tests.model_kinds.configs.recipe import CONTEXT, Recipe, nested, plain
from tests.model_kinds.tokenizer import VOCABULARY

_ROPE = {"rope_theta": 10000.0, "rope_type": "default", "type": "default"}
_YARN = {
    "type": "yarn",
    "factor": 2.0,
    "original_max_position_embeddings": CONTEXT // 2,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 0.7,
    "mscale_all_dim": 0.7,
}
_LONG = {
    "type": "longrope",
    "short_factor": [1.0] * 16,
    "long_factor": [2.0] * 16,
    "original_max_position_embeddings": CONTEXT,
}
_LONGCAT = {
    "ffn_hidden_size": 96,
    "moe_topk": 2,
    "expert_ffn_hidden_size": 32,
    "zero_expert_num": 2,
    "zero_expert_type": "identity",
    "num_layers": 2,
    "mla_scale_q_lora": True,
    "mla_scale_kv_lora": True,
}

KINDS: dict[str, Recipe] = {
    "Klear": plain(),
    "bailing_moe": plain(score_function="softmax"),
    "dbrx": plain(
        d_model=64,
        n_layers=2,
        n_heads=2,
        attn_config={"kv_n_heads": 1, "clip_qkv": 8.0, "rope_theta": 10000.0},
        ffn_config={"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
    ),
    "deepseek": plain(),
    "deepseek_v2": plain(topk_method="gready", rope_scaling=_YARN),
    "deepseek_v3": plain(),
    "deepseek_v32": plain(index_head_dim=32, index_n_heads=2, index_topk=32),
    "dots1": plain(),
    "ernie4_5_moe": plain(moe_k=2, moe_num_shared_experts=1, moe_layer_start_index=1),
    "glm4_moe": plain(use_qk_norm=True, partial_rotary_factor=0.5, rope_scaling=None),
    "glm4_moe_lite": plain(num_nextn_predict_layers=0),
    "glm_moe_dsa": plain(index_head_dim=32, index_n_heads=2, index_topk=32, rope_parameters=_ROPE),
    "granitemoe": plain(
        logits_scaling=1.0,
        attention_multiplier=0.2,
        embedding_multiplier=1.0,
        residual_multiplier=1.0,
    ),
    "hunyuan": plain(
        moe_topk=2,
        use_mixed_mlp_moe=True,
        use_qk_norm=True,
        use_cla=True,
        cla_share_factor=2,
        rope_scaling={"type": "dynamic", "factor": 1.0, "alpha": 1000.0},
    ),
    "joyai_llm_flash": plain(),
    "kimi_k2": plain(),
    "kimi_k25": nested("deepseek_v3"),
    "kimi_vl": nested(""),
    "longcat_flash": plain(attention_method="MLA", **_LONGCAT),
    "minicpm3": plain(dim_model_base=64, scale_depth=1.4, scale_emb=1.0, rope_scaling=_LONG),
    "minimax": plain(rotary_dim=32),
    "minimax_m2": plain(rotary_dim=32),
    "minimax_m3_vl": nested(
        "",
        num_hidden_layers=3,
        dense_intermediate_size=96,
        shared_intermediate_size=32,
        moe_layer_freq=[0, 1, 1],
        sparse_attention_config={
            "sparse_num_index_heads": 1,
            "sparse_index_dim": 32,
            "sparse_block_size": 16,
            "sparse_topk_blocks": 2,
            "sparse_local_block": 1,
            "sparse_attention_freq": [0, 1, 1],
        },
    ),
    "mistral4": plain(
        rope_parameters={
            **_ROPE,
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": CONTEXT,
        }
    ),
    "mixtral": plain(),
    "olmoe": plain(),
    "phimoe": plain(),
    "phixtral": plain(model_dim=64, num_vocab=VOCABULARY, num_heads=2, num_layers=2, rotary_dim=16),
    "qwen2_moe": plain(),
    "qwen3_moe": plain(),
    "qwen3_vl_moe": nested("qwen3_moe"),
    "solar_open": plain(),
    "youtu_llm": plain(),
}
