"""Transformers with a plain key-value cache in every layer, without experts."""

from __future__ import annotations

from tests.model_kinds.configs.recipe import CONTEXT, Recipe, nested, plain

KINDS: dict[str, Recipe] = {
    "afm7": plain(hidden_dim=64, num_layers=3, num_kv_reuse_layers=1, num_heads=2, num_kv_heads=1),
    "apertus": plain(post_norm=True, qk_norm=True),
    "cohere": plain(),
    "ernie4_5": plain(),
    "exaone": plain(num_layers=2),
    "gemma": plain(),
    "gemma2": plain(query_pre_attn_scalar=32),
    "glm": plain(),
    "glm4": plain(partial_rotary_factor=0.5),
    "gpt2": plain(n_ctx=1024, n_embd=64, n_head=2, n_layer=2, n_positions=1024),
    "gpt_bigcode": plain(n_embd=64, n_layer=2, n_inner=96, n_head=2, n_positions=1024),
    "gpt_neox": plain(rotary_emb_base=10000, rotary_pct=0.5),
    "gptj": plain(n_embd=64, n_positions=CONTEXT, n_head=2, rotary_dim=16, n_layer=2),
    "granite": plain(
        logits_scaling=1.0,
        attention_multiplier=0.2,
        embedding_multiplier=1.0,
        residual_multiplier=1.0,
    ),
    "helium": plain(),
    "hunyuan_v1_dense": plain(),
    "internlm2": plain(bias=False),
    "internlm3": plain(),
    "iquestcoder": plain(),
    "lille-130m": plain(block_size=CONTEXT, n_embd=64, n_head=2, n_kv_heads=1, n_layer=2),
    "llama": plain(),
    "llama4_text": plain(
        num_hidden_layers=4, intermediate_size_mlp=96, no_rope_layers=[1, 1, 1, 0], use_qk_norm=True
    ),
    "llava": nested("llama"),
    "mimo": plain(),
    "minicpm": plain(dim_model_base=64, scale_depth=1.4, scale_emb=1.0),
    "ministral3": plain(
        rope_parameters={
            "rope_theta": 10000.0,
            "original_max_position_embeddings": CONTEXT,
            "llama_4_scaling_beta": 0.1,
            "type": "default",
        }
    ),
    "mistral": plain(),
    "mistral3": nested(
        "ministral3",
        rope_parameters={
            "rope_theta": 10000.0,
            "original_max_position_embeddings": CONTEXT,
            "llama_4_scaling_beta": 0.1,
            "type": "default",
        },
    ),
    "nanbeige": plain(num_loops=2),
    "nanochat": plain(),
    "nemotron": plain(hidden_act="relu2", partial_rotary_factor=0.5),
    "nemotron-nas": plain(
        num_hidden_layers=3,
        block_configs=[
            {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 1.0}},
            {"attention": {"no_op": True}, "ffn": {"ffn_mult": 1.0}},
            {"attention": {"n_heads_in_group": 1}, "ffn": {"no_op": True}},
        ],
    ),
    "olmo2": plain(),
    "openelm": plain(
        num_transformer_layers=2,
        model_dim=64,
        ffn_dim_divisor=32,
        num_query_heads=[2, 2],
        num_kv_heads=[1, 1],
        ffn_multipliers=[1.0, 1.5],
        share_input_output_layers=False,
    ),
    "phi": plain(partial_rotary_factor=0.5),
    "phi3": plain(),
    "pixtral": nested("llama"),
    "plamo": plain(n_shared_head=2),
    "qwen": plain(kv_channels=32, intermediate_size=192),
    "qwen2": plain(),
    "qwen2_vl": nested("qwen2"),
    "qwen2_5_vl": nested("qwen2"),
    "qwen3": plain(),
    "qwen3_vl": nested("qwen3"),
    "seed_oss": plain(),
    "smollm3": plain(num_hidden_layers=4),
    "stablelm": plain(use_qkv_bias=True, partial_rotary_factor=0.5),
    "starcoder2": plain(),
    "talkie": plain(num_attention_heads=2),
    "telechat3": plain(),
    "xverse": plain(),
}
KINDS["mistral3-old"] = nested("llama", model_type="mistral3")
