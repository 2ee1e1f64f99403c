"""What llama.cpp's names of tensors and kinds of tokens are called in MLX's model folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TensorNames:
    """The parts of a layer by llama.cpp's names."""

    parts: dict[str, str]

    def of(self, name: str) -> str:
        """``blk.3.attn_q.weight`` is ``model.layers.3.self_attn.q_proj``."""
        if not name.startswith("blk."):
            outer = {"token_embd": "embed_tokens", "output_norm": "norm"}
            return f"model.{outer[name.removesuffix('.weight')]}"
        return f"model.layers.{name.split('.')[1]}.{self.parts[part_of(name)]}"


def part_of(name: str) -> str:
    """The part of a layer that a tensor is; empty for those outside of layers."""
    return name.split(".")[2] if name.startswith("blk.") else ""


ATTENTION_AND_MLP = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
LLAMA = TensorNames({**ATTENTION_AND_MLP, "ffn_norm": "post_attention_layernorm"})


def added_token(number: int, text: str, *, special: bool) -> dict[str, Any]:
    """An entry of ``added_tokens`` in a tokenizer.json."""
    return {
        "id": number,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }
