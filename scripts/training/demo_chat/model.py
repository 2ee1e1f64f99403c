"""The network: mlx-lm's qwen3 with small sizes, and a forward pass that trains faster on the CPU."""

import json
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path
from mlx_lm.models import qwen3
from mlx_lm.utils import save_config, save_model
from transformers import PreTrainedTokenizerFast

from .tokenizer import CONTEXT

Config = dict[str, Any]
VOCABULARY = 1280
_LOG2_E = math.log2(math.e)


def build_config(tokenizer: PreTrainedTokenizerFast) -> Config:
    """Give the sizes: 1.87 million parameters, which in fp32 and with the tokenizer stay below 8 MB."""
    return {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_size": 192,
        "num_hidden_layers": 4,
        "intermediate_size": 448,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "rms_norm_eps": 1e-6,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "torch_dtype": "float32",
    }


def build_model(config: Config, seed: int) -> qwen3.Model:
    """Make the model with fresh weights; layers that write to the residual stream start small."""
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))
    mx.random.seed(seed)

    def fresh(name: str, value: mx.array) -> mx.array:
        if value.ndim < 2:
            return value
        if "embed_tokens" in name:
            deviation = 0.05
        else:
            deviation = (0.3 if "o_proj" in name or "down_proj" in name else 0.8) * value.shape[
                -1
            ] ** -0.5
        return mx.random.normal(value.shape) * deviation

    model.update(tree_map_with_path(fresh, model.parameters()))
    mx.eval(model.parameters())
    return model


def save(
    model: nn.Module, config: Config, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Write the folder that `mlx_lm.load` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, model)
    save_config(dict(config), folder / "config.json")
    tokenizer.save_pretrained(folder)
    generation = {"eos_token_id": [config["eos_token_id"]], "pad_token_id": config["pad_token_id"]}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


# On the CPU MLX's exp and sigmoid cost 12 to 16 ns an element and its power 5 ns, and a training step takes tens of
# millions of them. Fused kernels (mx.compile) would be faster still, but MLX does not fuse inside a gradient.
# `check_forward` holds these against mlx-lm's own network.
@mx.custom_function  # type: ignore[untyped-decorator]
def _exp(x: mx.array) -> mx.array:
    return mx.power(2.0, x * _LOG2_E)


@_exp.vjp  # type: ignore[untyped-decorator]
def _exp_vjp(_x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return cotangent * output


@mx.custom_function  # type: ignore[untyped-decorator]
def _sigmoid(x: mx.array) -> mx.array:
    return 1 / (1 + mx.power(2.0, x * -_LOG2_E))


@_sigmoid.vjp  # type: ignore[untyped-decorator]
def _sigmoid_vjp(_x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return cotangent * output * (1 - output)


def _attend(layer: qwen3.Attention, x: mx.array, mask: mx.array) -> mx.array:
    rows, length, _ = x.shape

    def heads(projected: mx.array) -> mx.array:
        return projected.reshape(rows, length, layer.n_heads, -1)

    queries = layer.rope(layer.q_norm(heads(layer.q_proj(x))).transpose(0, 2, 1, 3))
    keys = layer.rope(layer.k_norm(heads(layer.k_proj(x))).transpose(0, 2, 1, 3))
    values = heads(layer.v_proj(x)).transpose(0, 2, 1, 3)
    scores = (queries * layer.scale) @ keys.transpose(0, 1, 3, 2) + mask
    weights = _exp(scores - mx.stop_gradient(scores.max(axis=-1, keepdims=True)))
    mixed = (weights @ values) / weights.sum(axis=-1, keepdims=True)
    return layer.o_proj(mixed.transpose(0, 2, 1, 3).reshape(rows, length, -1))


def hidden_states(model: qwen3.Model, tokens: mx.array) -> mx.array:
    """Run the network up to the last norm, for whole rows without a cache."""
    x = model.model.embed_tokens(tokens)
    length = tokens.shape[1]
    mask = mx.triu(mx.full((length, length), -1e9), k=1)
    for layer in model.model.layers:
        x = x + _attend(layer.self_attn, layer.input_layernorm(x), mask)
        y = layer.post_attention_layernorm(x)
        gate = layer.mlp.gate_proj(y)
        x = x + layer.mlp.down_proj(gate * _sigmoid(gate) * layer.mlp.up_proj(y))
    return model.model.norm(x)


def log_partition(logits: mx.array) -> mx.array:
    """Give the logarithm of the sum of the exponentials of each row."""
    top = mx.stop_gradient(logits.max(axis=-1, keepdims=True))
    return mx.log(_exp(logits - top).sum(axis=-1)) + top[:, 0]


def check_forward(model: qwen3.Model) -> None:
    """Raise if the training pass and mlx-lm's network disagree."""
    tokens = mx.random.randint(0, model.args.vocab_size, (2, 24))
    ours = model.model.embed_tokens.as_linear(hidden_states(model, tokens))
    difference = mx.abs(ours - model(tokens)).max().item()
    if difference > 1e-3:
        raise RuntimeError(f"the training pass differs from mlx-lm's network by {difference}")
