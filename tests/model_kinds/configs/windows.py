"""Kinds with sliding windows or chunks in some layers."""

from __future__ import annotations

from tests.model_kinds.configs.recipe import WINDOW, Recipe, nested, plain
from tests.model_kinds.tokenizer import VOCABULARY

_MIX = ["sliding_attention", "full_attention"]
_ROPES = {
    "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
    "full_attention": {"rope_theta": 100000.0, "rope_type": "default"},
}
_GEMMA3 = {"sliding_window_pattern": 2, "query_pre_attn_scalar": 32}
_GEMMA4 = {
    "num_hidden_layers": 4,
    "global_head_dim": 32,
    "num_kv_shared_layers": 0,
    "hidden_size_per_layer_input": 0,
    "layer_types": _MIX * 2,
    "final_logit_softcapping": 30.0,
    "use_double_wide_mlp": False,
}
GEMMA3N = {
    "num_hidden_layers": 5,
    "num_kv_shared_layers": 2,
    "vocab_size_per_layer_input": VOCABULARY,
    "rope_local_base_freq": 10000.0,
    "final_logit_softcapping": 30.0,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention", *_MIX],
    "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0, 0.0],
    "hidden_size_per_layer_input": 16,
    "altup_num_inputs": 2,
    "altup_coef_clip": 120.0,
    "altup_correct_scale": True,
    "altup_active_idx": 0,
    "laurel_rank": 8,
}
_LLAMA4 = {
    "num_experts_per_tok": 1,
    "num_hidden_layers": 4,
    "attention_chunk_size": WINDOW,
    "interleave_moe_layer_step": 2,
    "intermediate_size_mlp": 96,
    "rope_scaling": None,
    "use_qk_norm": True,
}

KINDS: dict[str, Recipe] = {
    "afmoe": plain(layer_types=_MIX),
    "cohere2": plain(sliding_window_pattern=2),
    "deepseek_v41": plain(
        num_hidden_layers=3,
        hc_sinkhorn_iters=2,
        o_groups=2,
        o_lora_rank=16,
        qk_rope_head_dim=16,
        scoring_func="sqrtsoftplus",
        rms_norm_eps=1e-6,
        compress_ratios=[0, 4, 4],
        kv_source_layer_ids=[1],
        index_source_layer_ids=[1, 2],
        candidate_source_layer_id=1,
        candidate_topk_blocks=2,
        candidate_block_size=4,
        index_n_heads=2,
        index_head_dim=32,
        index_topk=8,
        hc_mult=2,
    ),
    "exaone4": plain(
        num_hidden_layers=4,
        rope_scaling=None,
        sliding_window_pattern="LG",
        layer_types=_MIX * 2,
    ),
    "exaone_moe": plain(layer_types=_MIX, is_moe_layer=[False, True]),
    "gemma3": nested("gemma3_text", **_GEMMA3),
    "gemma3_text": plain(**_GEMMA3),
    "gemma3n": nested("", **GEMMA3N),
    "gemma4": nested("gemma4_text", **_GEMMA4),
    "gemma4_text": plain(
        **_GEMMA4
        | {
            "num_hidden_layers": 6,
            "layer_types": _MIX * 3,
            "num_kv_shared_layers": 2,
            "hidden_size_per_layer_input": 16,
            "vocab_size_per_layer_input": VOCABULARY,
        }
    ),
    "gemma4_unified": nested("gemma4_text", **_GEMMA4),
    "gpt_oss": plain(layer_types=_MIX),
    "iquestloopcoder": plain(loop_num=2, loop_window_size=WINDOW),
    "laguna": plain(layer_types=_MIX, rope_parameters=_ROPES),
    "llama-swa": plain(model_type="llama", layer_types=_MIX),
    "llama4": nested("", **_LLAMA4),
    "mellum": plain(layer_types=_MIX, rope_parameters=_ROPES),
    "mimo_v2_flash": plain(
        hybrid_layer_pattern=[0, 1],
        moe_layer_freq=[0, 1],
        add_swa_attention_sink_bias=True,
        add_full_attention_sink_bias=False,
        sliding_window_size=WINDOW,
        swa_rope_theta=10000.0,
        swa_num_attention_heads=2,
        swa_num_key_value_heads=1,
        swa_head_dim=32,
        swa_v_head_dim=32,
        partial_rotary_factor=0.5,
    ),
    "muse_glimmer": plain(layer_types=_MIX),
    "olmo3": plain(layer_types=_MIX),
    "plamo3": plain(sliding_window_pattern=2, window_size=WINDOW),
    "spark2_5": plain(hidden_act="gelu", layer_types=_MIX, rope_parameters=_ROPES),
    "step3p5": plain(
        num_hidden_layers=3,
        num_attention_groups=1,
        layer_types=["full_attention", *_MIX],
        moe_top_k=2,
        share_expert_dim=32,
        moe_layers_enum="1,2",
        attention_other_setting={"num_attention_heads": 2, "num_attention_groups": 1},
    ),
}
