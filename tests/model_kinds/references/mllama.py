"""What Llama 3.2 Vision says by its published formula, in numpy: mlx_vlm itself has a prompt without
pictures look at half of its own queries, and lets an answer see pictures that its prompt's end
doesn't.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.model_kinds.references.vision import VisionReference, pictures_of
from wire.messages import Message

Array = NDArray[np.float64]
HIDDEN = -1e30
_erf = np.vectorize(math.erf, otypes=[np.float64])


Memory = dict[str, tuple[Array, Array]]
"""The keys and values of the tokens that have been read, by layer."""


@dataclass(frozen=True)
class Tokens:
    """Some tokens to read; ``states`` are the features of all pictures, [features, hidden size],
    and ``shown`` says for each token which tiles of which pictures it sees."""

    tokens: list[int]
    states: Array | None = None
    shown: NDArray[Any] | None = None

    def answer(self, tokens: list[int]) -> Tokens:
        """Tokens of the answer behind these: they see what the last one does."""
        if self.shown is None:
            return Tokens(tokens)
        return Tokens(tokens, self.states, np.repeat(self.shown[-1:], len(tokens), axis=0))


class MllamaReference(VisionReference):
    """One model by its weights; mlx_vlm's processor makes the prompts."""

    def _load(self, folder: Path) -> None:
        super()._load(folder)
        self._computed = Mllama(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._ends = set(config["eos_token_id"])

    def _answer(self, messages: tuple[Message, ...], tokens: int) -> list[int]:
        answer: list[int] = []
        read, memory = self._prompt(messages), Memory()
        while len(answer) < tokens and not self._ends.intersection(answer):
            answer.append(int(self._computed.logits(read, memory).argmax()))
            read = read.answer(answer[-1:])
        return answer

    def lead(self, before: list[int], one: int, other: int) -> float:
        read, memory = self._prompt(tuple(self._asked)), Memory()
        logits = self._computed.logits(read, memory)
        if said := before[len(read.tokens) :]:
            logits = self._computed.logits(read.answer(said), memory)
        return float(logits[one] - logits[other])

    def _prompt(self, messages: tuple[Message, ...]) -> Tokens:
        inputs = self._inputs(messages)
        tokens = inputs["input_ids"][0].tolist()
        if "pixel_values" not in inputs:
            return Tokens(tokens)
        return Tokens(tokens, self._states(messages), inputs["cross_attention_mask"][0])

    @functools.cache  # noqa: B019 (a reference lives as long as its test)
    def _inputs(self, messages: tuple[Message, ...]) -> dict[str, Any]:
        from mlx_vlm.utils import prepare_inputs

        inputs = prepare_inputs(
            self.processor, images=pictures_of(messages) or None, prompts=[self.text(messages)]
        )
        return {name: np.array(value) for name, value in inputs.items() if value is not None}

    @functools.cache  # noqa: B019
    def _states(self, messages: tuple[Message, ...]) -> Array:
        inputs = self._inputs(messages)
        return self._computed.states(
            *(inputs[n] for n in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask"))
        )


class Mllama:
    """The computation, in double precision."""

    def __init__(self, folder: Path) -> None:
        import mlx.core as mx

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._text, self._tower = config["text_config"], config["vision_config"]
        loaded = mx.load(str(folder / "model.safetensors"))
        assert isinstance(loaded, dict)
        self._weights = {n: np.array(w, dtype=np.float64) for n, w in loaded.items()}

    def logits(self, read: Tokens, memory: Memory) -> Array:
        """Of the token behind the last one."""
        at, config, states = "language_model.model", self._text, read.states
        x = self._weights[f"{at}.embed_tokens.weight"][read.tokens]
        mask, sees = self._masks(read.shown) if read.shown is not None else (None, None)
        for number in range(config["num_hidden_layers"]):
            layer = f"{at}.layers.{number}"
            if number not in config["cross_attention_layers"]:
                normed = self._normed(layer, x)
                x = x + self._self_attention(f"{layer}.self_attn", normed, memory)
                x = x + self._text_mlp(layer, x)
            elif states is not None:
                gates = [self._gate(f"{layer}.cross_attn_{of}_gate") for of in ("attn", "mlp")]
                normed = self._normed(layer, x)
                x = x + gates[0] * self._cross(f"{layer}.cross_attn", normed, states, mask)
                x = x + gates[1] * sees * self._text_mlp(layer, x)
        last = _rms(x[-1:], self._weights[f"{at}.norm.weight"], config["rms_norm_eps"])
        return self._linear("language_model.lm_head", last)[0]

    def _masks(self, shown: NDArray[Any]) -> tuple[Array, Array]:
        """What is added to the scores, [tokens, features]; whether a token sees any, [tokens, 1].

        A token that sees none has the mean of all features, and no feed-forward part.
        """
        per_tile = (self._tower["image_size"] // self._tower["patch_size"]) ** 2 + 1
        seen = np.repeat(shown.reshape(len(shown), -1), per_tile, axis=1).astype(bool)
        any_seen = seen.any(axis=1, keepdims=True)
        return np.where(seen | ~any_seen, 0.0, HIDDEN), np.asarray(any_seen, np.float64)

    def _self_attention(self, at: str, x: Array, memory: Memory) -> Array:
        q, k, v = (self._heads(f"{at}.{name}_proj", x) for name in "qkv")
        known = memory[at][0].shape[1] if at in memory else 0
        positions = np.arange(known, known + len(x))
        q, k = (_turned(part, positions, self._text["rope_theta"]) for part in (q, k))
        if known:
            k, v = (np.concatenate(parts, axis=1) for parts in zip(memory[at], (k, v), strict=True))
        memory[at] = k, v
        causal = np.where(np.arange(k.shape[1]) <= positions[:, None], 0.0, HIDDEN)
        return self._linear(f"{at}.o_proj", _attended(q, k, v, causal))

    def _cross(self, at: str, x: Array, states: Array, mask: Array | None) -> Array:
        q, eps = self._heads(f"{at}.q_proj", x), self._text["rms_norm_eps"]
        k, v = (self._heads(f"{at}.{name}_proj", states) for name in "kv")
        q, k = (
            _rms(part, self._weights[f"{at}.{name}_norm.weight"], eps)
            for name, part in (("q", q), ("k", k))
        )
        return self._linear(f"{at}.o_proj", _attended(q, k, v, mask))

    def _heads(self, name: str, x: Array) -> Array:
        """[heads, tokens, head size]"""
        size = self._text["hidden_size"] // self._text["num_attention_heads"]
        return self._linear(name, x).reshape(len(x), -1, size).transpose(1, 0, 2)

    def _normed(self, layer: str, x: Array, name: str = "input") -> Array:
        weight = self._weights[f"{layer}.{name}_layernorm.weight"]
        return _rms(x, weight, self._text["rms_norm_eps"])

    def _text_mlp(self, layer: str, x: Array) -> Array:
        x = self._normed(layer, x, "post_attention")
        gate = self._linear(f"{layer}.mlp.gate_proj", x)
        up = self._linear(f"{layer}.mlp.up_proj", x)
        return self._linear(f"{layer}.mlp.down_proj", gate / (1 + np.exp(-gate)) * up)

    def _gate(self, name: str) -> Array:
        return np.tanh(self._weights[name])

    def _linear(self, name: str, x: Array) -> Array:
        made: Array = x @ self._weights[f"{name}.weight"].T
        return made + self._weights[f"{name}.bias"] if f"{name}.bias" in self._weights else made

    # --- the tower --------------------------------------------------------------------------------

    def states(self, pixels: Array, ratios: NDArray[Any], tiles: NDArray[Any]) -> Array:
        """The features of all pictures, tile by tile: pixels are [1, pictures, tiles, …], ``ratios``
        the numbers of their forms, ``tiles`` which of the tiles are no padding."""
        pictures = [self._picture(*one) for one in zip(pixels[0], ratios[0], tiles[0], strict=True)]
        return self._linear("multi_modal_projector", np.concatenate(pictures))

    def _picture(self, tiles: Array, ratio: int, real: NDArray[Any]) -> Array:
        size, count = self._tower["hidden_size"], len(tiles)
        x = self._patches(tiles)
        x = x + self._of_tiles("pre_tile_positional_embedding", ratio)
        first = np.broadcast_to(self._weights["vision_tower.class_embedding"], (count, 1, size))
        x = self._positioned(np.concatenate([first, x], axis=1), ratio)
        x = self._layer_norm("vision_tower.layernorm_pre", x)
        patches = x.shape[1]
        padding = -patches % 8
        x = np.pad(x, [(0, 0), (0, padding), (0, 0)])
        hidden = np.ones((count, patches + padding))
        hidden[real.astype(bool), :patches] = 0
        mask = HIDDEN * np.outer(hidden, hidden)
        kept, x = [], x.reshape(-1, size)
        for number in range(self._tower["num_hidden_layers"]):
            x = self._tower_layer(f"vision_tower.transformer.layers.{number}", x, mask)
            kept.append(x)
        x = self._layer_norm("vision_tower.layernorm_post", x).reshape(count, -1, size)
        x = x + self._of_tiles("post_tile_positional_embedding", ratio)
        x = x.reshape(-1, size)
        for number in range(self._tower["num_global_layers"]):
            layer = f"vision_tower.global_transformer.layers.{number}"
            gates = [self._gate(f"{layer}.gate_{of}") for of in ("attn", "ffn")]
            x = self._tower_layer(layer, x, mask, *gates)
        chosen = np.stack([kept[i] for i in self._tower["intermediate_layers_indices"]], axis=-1)
        both = np.concatenate([x, chosen.reshape(len(x), -1)], axis=-1)
        return both.reshape(count, patches + padding, -1)[:, :patches].reshape(count * patches, -1)

    def _patches(self, tiles: Array) -> Array:
        """[tiles, patches, hidden size]"""
        kernel = self._weights["vision_tower.patch_embedding.weight"]  # [out, height, width, in]
        side = self._tower["patch_size"]
        count, channels, height, width = tiles.shape
        cut = tiles.reshape(count, channels, height // side, side, width // side, side)
        return np.einsum("tciyjx,oyxc->tijo", cut, kernel).reshape(count, -1, len(kernel))

    def _of_tiles(self, name: str, ratio: int) -> Array:
        at = f"vision_tower.{name}"
        embedding = self._weights[f"{at}.embedding.weight"][ratio]
        return self._gate(f"{at}.gate") * embedding.reshape(-1, 1, self._tower["hidden_size"])

    def _positioned(self, x: Array, ratio: int) -> Array:
        at = "vision_tower.gated_positional_embedding"
        gate = self._gate(f"{at}.gate")
        tiles = self._weights[f"{at}.tile_embedding.weight"][ratio].reshape(x.shape)
        return x + (1 - gate) * self._weights[f"{at}.embedding"] + gate * tiles

    def _tower_layer(
        self, at: str, x: Array, mask: Array, attention: Any = 1.0, feed_forward: Any = 1.0
    ) -> Array:
        heads = self._tower["num_attention_heads"]
        normed = self._layer_norm(f"{at}.input_layernorm", x)
        q, k, v = (
            self._linear(f"{at}.self_attn.{name}_proj", normed)
            .reshape(len(x), heads, -1)
            .transpose(1, 0, 2)
            for name in "qkv"
        )
        x = x + attention * self._linear(f"{at}.self_attn.o_proj", _attended(q, k, v, mask))
        wide = self._linear(f"{at}.mlp.fc1", self._layer_norm(f"{at}.post_attention_layernorm", x))
        bent = wide * 0.5 * (1 + _erf(wide / math.sqrt(2)))
        return x + feed_forward * self._linear(f"{at}.mlp.fc2", bent)

    def _layer_norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _rms(x: Array, weight: Array, eps: float) -> Array:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * weight


def _turned(x: Array, positions: NDArray[Any], theta: float) -> Array:
    """Rotary embedding: each half of a head is turned with the other."""
    half = x.shape[-1] // 2
    angles = positions[:, None] / theta ** (np.arange(half) / half)
    one, other = x[..., :half], x[..., half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([one * cos - other * sin, other * cos + one * sin], axis=-1)


def _attended(q: Array, k: Array, v: Array, mask: Array | None) -> Array:
    """[tokens, heads x head size]; several heads of queries may share one of keys."""
    k, v = (np.repeat(part, len(q) // len(part), axis=0) for part in (k, v))
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
    scores = scores if mask is None else scores + mask
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    made: Array = (weights @ v).transpose(1, 0, 2)
    return made.reshape(made.shape[0], -1)
