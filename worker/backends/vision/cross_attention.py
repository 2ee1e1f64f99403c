"""Models whose language model looks at pictures by cross attention: Llama 3.2 Vision.

Some of its layers have the pictures' keys and values in place of the prompt's. These are computed
once for all pictures of a prompt, and are the cache of such a layer. mlx_vlm would compute them
anew in each step, forget in decode which pictures the answer may see, and have a prompt without
pictures look at half of its own queries. What is computed here is what transformers computes.

For the engine's thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_vlm.models.base import InputEmbeddingsFeatures
from mlx_vlm.models.cache import make_prompt_cache
from numpy.typing import NDArray

from worker.backends.vision.prompt import VisionPrompt, hash_together
from worker.errors import WorkerError

MASK, SEES = "cross_attention_mask", "full_text_row_masked_out_mask"
"""Inputs of the language model: what is added to the scores of the pictures' features, and whether
a token sees any of them."""


class CrossAttentionCache:
    """What a layer knows of one row's pictures: ``keys`` and ``values`` are [1, heads, features,
    head size].

    ``hidden`` is added to the scores of the features for the next tokens, [1, 1, 1, features], and
    ``sees`` is 1 if these tokens see a picture, else 0, [1, 1, 1, 1].
    """

    offset = 1
    """The library's layer takes keys and values from a cache that isn't empty."""

    def __init__(self, keys: mx.array, values: mx.array, hidden: mx.array, sees: mx.array) -> None:
        self.keys, self.values = keys, values
        self.hidden, self.sees = hidden, sees

    def fetch(self) -> tuple[mx.array, mx.array]:
        """As the library's layer asks for them."""
        return self.keys, self.values

    @property
    def state(self) -> list[mx.array]:
        return [self.keys, self.values, self.hidden, self.sees]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.state)

    def is_trimmable(self) -> bool:
        return True

    def trim(self, tokens: int) -> int:
        """Cut the prompt, which isn't here."""
        return tokens


class CrossAttention:
    """One such model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._language = model.language_model
        numbers = self._language.config.cross_attention_layers
        self._layers = {
            number: layer.cross_attn
            for number, layer in enumerate(self._language.layers)
            if number in numbers
        }
        self._first = min(self._layers)
        embedded = self._features([0]).inputs_embeds
        self._dtype = embedded.dtype

    def new_cache(self) -> list[Any]:
        """An empty cache of a prompt without pictures.

        One key and value of zeros add nothing: transformers leaves such layers out.
        """
        nothing = mx.zeros((1, 1, 1, 1), self._dtype)
        cache: list[Any] = list(make_prompt_cache(self._language))
        for number, layer in self._layers.items():
            zeros = mx.zeros((1, layer.num_key_value_heads, 1, layer.head_dim), self._dtype)
            cache[number] = CrossAttentionCache(zeros, zeros, nothing, nothing)
        return cache

    def inputs(self, cache: list[Any]) -> dict[str, mx.array]:
        """The language model's further inputs for tokens behind a prompt, or of one without
        pictures."""
        seen: CrossAttentionCache = cache[self._first]
        return {MASK: seen.hidden, SEES: seen.sees}

    def key_ids(self, ready: VisionPrompt) -> list[int]:
        """The prompt's key. Its first token stands for all of its pictures: also what lies before
        the first one depends on them.

        Raises WorkerError if the prompt doesn't say where the pictures are.
        """
        if not ready.hashes:
            return ready.key_ids
        shown = ready.arrays.get(MASK)
        if shown is None or shown.shape[2] != len(ready.hashes):
            raise WorkerError(
                "template_failed", "This model's chat template leaves images out of the prompt."
            )
        return [hash_together(ready.hashes), *ready.key_ids[1:]]

    def show(
        self, ready: VisionPrompt, tokens: list[int], cache: list[Any], read: int
    ) -> Callable[[int, int, list[Any]], Any]:
        """Put a prompt's pictures into the cache of its row, unless that holds tokens already,
        ``read`` of them: then the pictures are there too.

        Returns what reads ``tokens``, which begin with the prompt's, from a start up to a stop
        position.
        """
        shown = _lengthened(ready.arrays[MASK], len(tokens))
        end = self._masks(self._features(tokens[-1:], shown[:, -1:]))
        states = None if read else self._states(ready)
        for number, layer in self._layers.items():
            keys, values = cache[number].fetch() if states is None else _projected(layer, states)
            cache[number] = CrossAttentionCache(keys, values, end[MASK], end[SEES])
        mx.eval([cache[number].state for number in self._layers])

        def feed(start: int, stop: int, layers: list[Any]) -> Any:
            chunk = self._features(tokens[start:stop], shown[:, start:stop])
            ids = mx.array([tokens[start:stop]])
            embeddings = chunk.inputs_embeds
            return self._language(ids, inputs_embeds=embeddings, cache=layers, **self._masks(chunk))

        return feed

    def _features(
        self, tokens: list[int], shown: mx.array | None = None, **inputs: Any
    ) -> InputEmbeddingsFeatures:
        """What the model makes of some tokens and of which features each of them sees."""
        features: InputEmbeddingsFeatures = self._model.get_input_embeddings(
            mx.array([tokens]), cross_attention_mask=shown, **inputs
        )
        return features

    def _masks(self, features: InputEmbeddingsFeatures) -> dict[str, mx.array]:
        made = {
            MASK: features.cross_attention_mask,
            SEES: features.full_text_row_masked_out_mask,
        }
        return {name: mask.astype(self._dtype) for name, mask in made.items()}

    def _states(self, ready: VisionPrompt) -> mx.array:
        """The features of a prompt's pictures, [1, features, hidden size]."""
        names = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
        pictures = {name: mx.array(ready.arrays[name]) for name in names}
        states: mx.array = self._features(ready.token_ids[:1], **pictures).cross_attention_states
        return states.astype(self._dtype)


def _lengthened(shown: NDArray[Any], length: int) -> mx.array:
    """Which pictures' tiles each token sees, [1, length, pictures, tiles]: an answer's tokens those
    that the prompt's last one does."""
    padding = [(0, 0), (0, length - shown.shape[1]), (0, 0), (0, 0)]
    return mx.array(np.pad(shown, padding, mode="edge"))


def _projected(layer: Any, states: mx.array) -> tuple[mx.array, mx.array]:
    """The keys and values that a layer computes of the pictures' features."""
    shape = (1, -1, layer.num_key_value_heads, layer.head_dim)
    keys = layer.k_proj(states).reshape(shape).transpose(0, 2, 1, 3)
    values = layer.v_proj(states).reshape(shape).transpose(0, 2, 1, 3)
    return layer.k_norm(keys), values
