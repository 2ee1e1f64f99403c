"""Kinds with a recurrent state or a convolution in some or all layers."""

from __future__ import annotations

from typing import Any

from tests.model_kinds.configs.recipe import WINDOW, Recipe, nested, plain

_GROUPS: dict[str, Any] = {"num_hidden_layers": 4, "layer_group_size": 2, "group_norm_size": 1}
_DELTA: dict[str, Any] = {
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 1,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_conv_kernel_dim": 4,
}
_QWEN35: dict[str, Any] = {
    **_DELTA,
    "full_attention_interval": 2,
    "rope_parameters": {
        "type": "default",
        "mrope_section": [2, 1, 1],
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.25,
    },
}
_KIMI: dict[str, Any] = {
    "num_hidden_layers": 3,
    "linear_attn_config": {
        "kda_layers": [1, 3],
        "full_attn_layers": [2],
        "num_heads": 2,
        "head_dim": 32,
        "short_conv_kernel_size": 4,
    },
}
_LFM2: dict[str, Any] = {
    "num_hidden_layers": 3,
    "layer_types": ["conv", "full_attention", "conv"],
    "conv_bias": False,
    "conv_L_cache": 3,
}
_LFM2_DENSE: dict[str, Any] = {
    **_LFM2,
    "block_dim": 64,
    "block_ff_dim": 96,
    "block_multiple_of": 32,
    "block_ffn_dim_multiplier": 1.0,
    "block_auto_adjust_ff_dim": False,
}
_MAMBA: dict[str, Any] = {
    "intermediate_size": 128,
    "state_size": 16,
    "conv_kernel": 4,
    "use_conv_bias": True,
    "time_step_rank": 4,
}

KINDS: dict[str, Recipe] = {
    "baichuan_m1": plain(
        num_hidden_layers=3,
        sliding_window_layers=[1],
        conv_window=2,
        num_swa_attention_heads=2,
        num_swa_key_value_heads=1,
    ),
    "bailing_hybrid": plain(**_GROUPS),
    "bailing_moe_linear": plain(**_GROUPS),
    "bailing_moe_v3": plain(
        model_type="bailing_hybrid", architectures=["BailingMoeV3ForCausalLM"], **_GROUPS
    ),
    "falcon_h1": plain(
        mamba_d_conv=4,
        mamba_d_head=16,
        mamba_d_ssm=64,
        mamba_d_state=16,
        mamba_n_groups=1,
        mamba_n_heads=4,
        lm_head_multiplier=1.0,
        embedding_multiplier=1.0,
    ),
    "falcon_mamba": plain(**_MAMBA),
    "granitemoehybrid": plain(
        num_hidden_layers=3,
        layer_types=["mamba", "attention", "mamba"],
        embedding_multiplier=1.0,
        attention_multiplier=0.2,
        logits_scaling=1.0,
        residual_multiplier=1.0,
        mamba_n_heads=8,
        mamba_d_head=16,
        mamba_proj_bias=False,
        mamba_d_state=16,
        mamba_d_conv=4,
        mamba_n_groups=1,
        mamba_conv_bias=True,
    ),
    "jamba": plain(
        num_hidden_layers=4,
        attn_layer_offset=1,
        attn_layer_period=2,
        expert_layer_offset=1,
        expert_layer_period=2,
        mamba_d_conv=4,
        mamba_d_state=16,
        mamba_expand=2,
    ),
    "kimi_k3": nested(
        "",
        **_KIMI,
        hidden_act="situ",
        activation_situ_beta=1.0,
        activation_situ_linear_beta=1.0,
        attn_res_block_size=2,
    ),
    "kimi_linear": plain(model_max_length=2048, **_KIMI),
    "lfm2": plain(**_LFM2_DENSE),
    "lfm2-vl": nested("lfm2", **_LFM2_DENSE),
    "lfm2_moe": plain(use_expert_bias=True, **_LFM2),
    "longcat_flash_ngram": plain(
        ffn_hidden_size=96,
        moe_topk=2,
        expert_ffn_hidden_size=32,
        zero_expert_num=2,
        num_layers=2,
        mla_scale_q_lora=True,
        mla_scale_kv_lora=True,
        ngram_vocab_size_ratio=2,
        emb_neighbor_num=3,
        emb_split_num=2,
    ),
    "mamba": plain(**_MAMBA),
    "mamba2": plain(
        num_heads=8,
        head_dim=16,
        intermediate_size=128,
        state_size=16,
        conv_kernel=4,
        n_groups=1,
        use_conv_bias=True,
        time_step_limit=[0.0, 100.0],
        time_step_rank="auto",
    ),
    "nemotron_h": plain(
        hybrid_override_pattern=["M", "-", "*", "E"],
        mamba_num_heads=4,
        mamba_head_dim=16,
        mamba_proj_bias=False,
        ssm_state_size=16,
        conv_kernel=4,
        n_groups=1,
        use_conv_bias=True,
    ),
    "olmo_hybrid": plain(
        num_hidden_layers=4,
        layer_types=["linear_attention", "full_attention"] * 2,
        linear_allow_neg_eigval=True,
        **_DELTA,
    ),
    "plamo2": plain(
        num_hidden_layers=4,
        hidden_size_per_head=32,
        attention_window_size=WINDOW,
        full_attention_idx=[],
        mamba_d_state=16,
        mamba_d_conv=4,
        mamba_num_heads=2,
        mamba_step=2,
        mamba_chunk_size=64,
    ),
    "qwen3_5": nested("", **_QWEN35),
    "qwen3_5_moe": nested("qwen3_5", **_QWEN35),
    "qwen3_next": plain(
        num_hidden_layers=4, full_attention_interval=2, partial_rotary_factor=0.5, **_DELTA
    ),
    "recurrent_gemma": plain(
        num_hidden_layers=3,
        conv1d_width=4,
        logits_soft_cap=30.0,
        attention_window_size=WINDOW,
        block_types=["recurrent", "recurrent", "attention"],
    ),
    "rwkv7": plain(a_low_rank_dim=8, v_low_rank_dim=8, gate_low_rank_dim=8, decay_low_rank_dim=8),
}
