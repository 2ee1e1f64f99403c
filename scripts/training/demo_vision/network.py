"""The forward pass that training uses: whole rows and many pictures at once, on the weights of the library's network.

The library's own pass takes its pictures one by one and its exponentials on the slow path. This one does the same sums
for pictures of one grid together; `check_forward` compares the two.
"""

from typing import Any

import mlx.core as mx
import numpy as np
from mlx_vlm.models.qwen2_vl import Model
from mlx_vlm.models.rope_utils import rotate_half

from .arithmetic import sigmoid, softmax
from .batches import Batch

_GELU = 1.702  # the factor of the sigmoid form of GELU, which the picture tower uses
_HIDDEN_FROM = -1e9


class Network:
    """Runs the library's model on batches; holds the rotary tables of the grids seen so far."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._tables: dict[tuple[int, int], tuple[mx.array, mx.array]] = {}

    def states(self, batch: Batch, wanted: mx.array) -> tuple[mx.array, tuple[mx.array, mx.array]]:
        """Give the states after the last norm, and the picture tokens' states at the two depths of the probes.

        Only the tokens at the flat places `wanted` go through the last layer's feed-forward half: most need not.
        """
        text = self.model.language_model.model
        tokens = mx.array(batch.tokens)
        rows, length = tokens.shape
        states = text.embed_tokens(tokens).reshape(rows * length, -1)
        cells = mx.array(batch.cells)
        seen = states[:0]
        if len(batch.patches):
            seen = self.see(mx.array(batch.patches), batch.grid)
            states = _put(states, cells, seen)
        rotary = text.layers[0].self_attn.rotary_emb(mx.zeros((1,)), mx.array(batch.rotary))
        cos, sin = (mx.stop_gradient(part)[:, None] for part in rotary)
        mask = mx.triu(mx.full((length, length), _HIDDEN_FROM), k=1)
        states = states.reshape(rows, length, -1)
        for layer in text.layers[:-1]:
            states = _feed(layer, *_text_attention(layer, states, (cos, sin), mask))
        early = states.reshape(rows * length, -1)
        last = text.layers[-1]
        mixed, states = (
            part.reshape(rows * length, -1)[wanted]
            for part in _text_attention(last, states, (cos, sin), mask)
        )
        return text.norm(_feed(last, mixed, states)), (seen, early[cells])

    def logits(self, states: mx.array) -> mx.array:
        """Give the next tokens' logits; the head is the embedding."""
        return self.model.language_model.model.embed_tokens.as_linear(states)

    def see(self, patches: mx.array, grid: tuple[int, int]) -> mx.array:
        """Give the picture tokens of (pictures, patches, values), flat: (pictures x cells, hidden)."""
        tower = self.model.vision_tower
        pictures, count, _ = patches.shape
        # Both frames of a still picture are equal, so one frame times the sum of both frames' weights is enough.
        kernel = tower.patch_embed.proj.weight.sum(axis=1)
        states = patches @ kernel.transpose(3, 1, 2, 0).reshape(patches.shape[-1], -1)
        rotary = self._tower_rotary(grid)
        for block in tower.blocks:
            states = _tower_block(block, states, rotary)
        merged = tower.merger.ln_q(states).reshape(pictures * count // 4, -1)
        for layer in tower.merger.mlp:
            merged = layer(merged)
        return merged

    def _tower_rotary(self, grid: tuple[int, int]) -> tuple[mx.array, mx.array]:
        if grid not in self._tables:
            angles = self.model.vision_tower.rot_pos_emb(mx.array([[1, 2 * grid[0], 2 * grid[1]]]))
            twice = mx.tile(angles, (1, 2))
            self._tables[grid] = mx.cos(twice), mx.sin(twice)
            mx.eval(self._tables[grid])
        return self._tables[grid]


def _put(states: mx.array, places: mx.array, values: mx.array) -> mx.array:
    """Replace some rows by others, by gathering from both: a gather has a cheap gradient."""
    source = mx.arange(states.shape[0])
    source[places] = states.shape[0] + mx.arange(values.shape[0])
    return mx.concatenate([states, values])[source]


def _attend(
    queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: mx.array | None
) -> mx.array:
    """Attention of (rows, heads, length, width), with the heads joined again."""
    scores = (queries * scale) @ keys.transpose(0, 1, 3, 2)
    mixed = softmax(scores if mask is None else scores + mask) @ values
    return mixed.transpose(0, 2, 1, 3).reshape(mixed.shape[0], mixed.shape[2], -1)


def _rotate(states: mx.array, rotary: tuple[mx.array, mx.array]) -> mx.array:
    return states * rotary[0] + rotate_half(states) * rotary[1]


def _tower_block(block: Any, states: mx.array, rotary: tuple[mx.array, mx.array]) -> mx.array:
    pictures, count, _ = states.shape
    parts = block.attn.qkv(block.norm1(states)).reshape(
        pictures, count, 3, block.attn.num_heads, -1
    )
    queries, keys, values = parts.transpose(2, 0, 3, 1, 4)
    mixed = _attend(_rotate(queries, rotary), _rotate(keys, rotary), values, block.attn.scale, None)
    states = states + block.attn.proj(mixed)
    inner = block.mlp.fc1(block.norm2(states))
    return states + block.mlp.fc2(inner * sigmoid(_GELU * inner))


def _text_attention(
    layer: Any, states: mx.array, rotary: tuple[mx.array, mx.array], mask: mx.array
) -> tuple[mx.array, mx.array]:
    """Give what a text layer's heads read, and the states that came in."""
    attention, (rows, length, _) = layer.self_attn, states.shape
    normed = layer.input_layernorm(states)

    def heads(projection: Any) -> mx.array:
        return projection(normed).reshape(rows, length, attention.n_heads, -1).transpose(0, 2, 1, 3)

    queries, keys = (_rotate(heads(part), rotary) for part in (attention.q_proj, attention.k_proj))
    return _attend(queries, keys, heads(attention.v_proj), attention.scale, mask), states


def _feed(layer: Any, mixed: mx.array, states: mx.array) -> mx.array:
    """Add what the heads read, then the feed-forward half."""
    states = states + layer.self_attn.o_proj(mixed)
    normed = layer.post_attention_layernorm(states)
    gate = layer.mlp.gate_proj(normed)
    return states + layer.mlp.down_proj(gate * sigmoid(gate) * layer.mlp.up_proj(normed))


def check_forward(network: Network, batch: Batch) -> float:
    """Give the largest difference between this pass's logits and the library's; raise if it is not rounding."""
    model, worst = network.model, 0.0
    everywhere = mx.arange(batch.tokens.size)
    ours = network.logits(network.states(batch, everywhere)[0]).reshape(*batch.tokens.shape, -1)
    rows, columns = batch.grid
    picture = model.config.image_token_id
    used = 0
    for i, row in enumerate(batch.tokens[:4]):
        count = int((row == picture).sum()) // (rows * columns)
        frames = batch.patches[used : used + count].reshape(-1, 3, 1, batch.patches.shape[-1] // 3)
        used += count
        pixels = np.repeat(frames, 2, axis=2).reshape(len(frames), 2 * batch.patches.shape[-1])
        shown = {"image_grid_thw": mx.array([[1, 2 * rows, 2 * columns]] * count)} if count else {}
        language = model.language_model
        language._position_ids = language._rope_deltas = None
        theirs = model(mx.array(row[None]), mx.array(pixels) if count else None, **shown).logits[0]
        language._position_ids = language._rope_deltas = None
        worst = max(worst, mx.abs(theirs - ours[i]).max().item())
    if worst > 1e-3:
        raise RuntimeError(f"the training pass differs from the library's network by {worst}")
    return worst
