"""Prompts as a vision model's language model takes them: embeddings with the images in place,
positions, and whatever else goes along.

Knows no batch: everything here is about one row. For the engine's thread only.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_vlm.models.base import InputEmbeddingsFeatures

from worker.backends.vision.encoder import VisionEncoder
from worker.backends.vision.host_arrays import on_device
from worker.backends.vision.prompt import VisionPrompt, is_mark

PER_POSITION = ("per_layer_inputs", "visual_pos_masks", "pos_hw")
"""Inputs to the language model with an entry for each position of the prompt, [1, length, …]."""
TOKEN_TYPES = ("mm_token_type_ids", "token_type_ids")
"""The same, from the processor: which positions are an image's, for models that let these attend to
each other in both directions."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A prompt's inputs to the language model.

    ``aligned`` are inputs that are cut like the embeddings; ``layers`` are added to the outputs of
    the first layers at image positions, and have a row for each of these; ``whole`` are inputs that
    can't be cut. ``decode_inputs`` are keyword arguments of each decode step, [1, ...] for this
    row; a batch concatenates those of its rows, with zeros for rows that have none.
    """

    language: Any
    ids: mx.array
    embeddings: mx.array
    positions: mx.array | None = None
    aligned: dict[str, mx.array] = field(default_factory=dict)
    layers: list[mx.array] = field(default_factory=list)
    whole: dict[str, Any] = field(default_factory=dict)
    decode_inputs: dict[str, mx.array] = field(default_factory=dict)
    in_one_piece: bool = False
    """Whether the prompt must be read from its first position to its last in one call."""
    prefix: int = 0
    """How many tokens at the beginning must be read at once, and what follows one by one: those
    that see each other in both directions, or those that the cache never drops."""
    surplus: int = 0
    """How many more positions than tokens there are: some models have one image token for a whole
    image."""

    @property
    def reusable(self) -> bool:
        """Whether tokens count what a cache has read: else it can't be cut by them."""
        return self.surplus == 0

    def feed(self, start: int, stop: int, cache: list[Any]) -> Any:
        """Read the tokens from ``start`` up to ``stop`` into a cache of one row, which holds all
        those before. Returns the language model's output for them, or, where a ``prefix`` is
        read at once, for that alone."""
        if not self.prefix:
            return self._read(start, stop, cache)
        output = self._read(0, self.prefix, cache)
        for token in range(self.prefix, stop):
            self._read(token, token + 1, cache)
        for layer in cache if stop < self.prefix else ():
            layer.trim(self.prefix - stop)
        return output

    def _read(self, start: int, stop: int, cache: list[Any]) -> Any:
        part = slice(start + self.surplus if start else 0, stop + self.surplus)
        extra: dict[str, Any] = {name: value[:, part] for name, value in self.aligned.items()}
        if self.positions is not None:
            extra["position_ids"] = _cut_positions(self.positions, self.ids.shape[1], part)
        if self.layers:
            seen = self.aligned["visual_pos_masks"]
            first = int(seen[:, : part.start].sum())
            rows = slice(first, first + int(seen[:, part].sum()))
            extra["deepstack_visual_embeds"] = [layer[rows] for layer in self.layers]
        embeddings = self.embeddings[:, part]
        forget_positions(self.language)
        if "rope_deltas" in self.decode_inputs:
            # Steps of other rows, between two pieces of this one, leave theirs.
            self.language._rope_deltas = self.decode_inputs["rope_deltas"]
        output = self.language(
            self.ids[:, part], inputs_embeds=embeddings, cache=cache, **extra, **self.whole
        )
        forget_positions(self.language)
        return output


def forget_positions(language: Any) -> None:
    """No other row may take the positions that a language model keeps of one."""
    if hasattr(language, "_position_ids"):
        language._position_ids = None


class PromptEmbedder:
    """Embeds prompts for one vision model. ``encoder`` computes image features beside other work,
    for the families that take them ready-made."""

    def __init__(self, model: Any, encoder: VisionEncoder | None, image_token: int | None) -> None:
        self._model = model
        self._language = model.language_model
        self._encoder = encoder
        self._image_token = image_token
        # It numbers positions by the images' arrays, also where these are in the cached part.
        self._numbers_by_images = model.config.model_type == "minicpmv4_7"
        self._numbers_positions = hasattr(self._language, "get_rope_index")
        # Some language models keep a prompt's positions, where the next prompt's overwrite them.
        self._keeps_positions = hasattr(self._language, "_position_ids")
        self._keeps_offset = hasattr(self._language, "_rope_deltas")
        self.always_whole = not self._may_be_cut(None, {}, {})
        """Whether a prompt's tokens see each other in both directions, also without images."""
        self._source = inspect.getsource(sys.modules[type(self._language).__module__])

    def embed(self, ready: VisionPrompt, tokens: list[int], read: int) -> Embedded | None:
        """The inputs for ``tokens``, which begin with the prompt's and may go on with an answer's.

        The first ``read`` of them are in a cache already. None while image features are still being
        computed: ask again after the next step.
        """
        unread = bool(ready.hashes) and (self.always_whole or self._has_images(ready, read))
        arrays: dict[str, Any] = {}
        if unread:
            if self._encoder is not None:
                pixels, grid = ready.arrays["pixel_values"], ready.arrays["image_grid_thw"]
                features = self._encoder.features(ready.hashes, pixels, grid)
                if features is None:
                    return None
                arrays["cached_image_features"] = features
            arrays |= _arrays(ready, len(tokens))
        ids = mx.array([self._without_marks(ready, tokens)])
        inputs = self._inputs(ids, arrays)
        if ready.hashes and not (unread and "position_ids" in inputs):
            # Images that are all in the cached part matter by their positions alone.
            inputs |= self._positions(ids, ready)
        cached = bool(ready.hashes) and not unread
        embedded = self._embedded(ids, inputs, arrays, cached, len(ready.token_ids))
        self._embed_marks(embedded.embeddings, ready, tokens)
        mx.eval(embedded.embeddings)
        return embedded

    def _has_images(self, ready: VisionPrompt, read: int) -> bool:
        """Whether images may be needed behind the first tokens of a prompt."""
        if self._numbers_by_images or not ready.reusable:
            return True
        return any(is_mark(token, self._image_token) for token in ready.token_ids[read:])

    def _inputs(self, ids: mx.array, arrays: dict[str, Any]) -> dict[str, Any]:
        """What the model makes of a prompt, without names that have no value."""
        self._set_kept(None)
        others = {name: value for name, value in arrays.items() if name != "pixel_values"}
        features: InputEmbeddingsFeatures = self._model.get_input_embeddings(
            ids, arrays.get("pixel_values"), mask=mx.ones_like(ids), **others
        )
        inputs = features.to_dict()
        if inputs["position_ids"] is None and self._keeps_positions:
            inputs["position_ids"] = self._language._position_ids
            inputs["rope_deltas"] = getattr(self._language, "_rope_deltas", None)
        self._set_kept(mx.zeros((1, 1), dtype=mx.int32))
        # The attention mask is the one above, which hides nothing.
        inputs["attention_mask"] = None
        return {name: value for name, value in inputs.items() if value is not None}

    def _set_kept(self, offset: mx.array | None) -> None:
        """Leave no positions in the language model, so that it takes each row's own; where it has
        an offset, it doesn't count them anew."""
        forget_positions(self._language)
        if self._keeps_offset:
            self._language._rope_deltas = offset

    def _positions(self, ids: mx.array, ready: VisionPrompt) -> dict[str, Any]:
        """The positions of a prompt by the sizes of its images."""
        grid = ready.arrays.get("image_grid_thw")
        if grid is None or not self._numbers_positions:
            return {}
        positions, offset = self._language.get_rope_index(ids, mx.array(grid))
        return {"position_ids": positions, "rope_deltas": offset}

    def _embedded(
        self,
        ids: mx.array,
        inputs: dict[str, Any],
        arrays: dict[str, Any],
        cached: bool,
        prompt_length: int,
    ) -> Embedded:
        """``cached``: the images are in the cached part, and what goes along with them too."""
        whole_prompt = not cached and not self._may_be_cut(ids, inputs, arrays)
        if whole_prompt:
            named = [name for name in TOKEN_TYPES if name in arrays and name in self._source]
            inputs |= {name: arrays[name] for name in named}
        embeddings, length = inputs.pop("inputs_embeds"), ids.shape[1]
        positions, offset = inputs.pop("position_ids", None), inputs.pop("rope_deltas", None)
        if offset is None and self._keeps_offset:
            offset = 0
        aligned, layers = _cut_inputs(inputs, length)
        whole = {} if cached else {name: inputs[name] for name in inputs if name in self._source}
        surplus = embeddings.shape[1] - length
        at_once = whole_prompt and self.always_whole and not aligned.keys() & TOKEN_TYPES
        # Without numbering, a language model takes positions with the first piece alone.
        in_first_piece = positions is not None and not self._numbers_positions
        return Embedded(
            self._language,
            self._lengthened(ids, surplus),
            embeddings,
            positions,
            aligned,
            layers,
            whole,
            {} if offset is None else {"rope_deltas": mx.array(offset).reshape(1, 1)},
            in_one_piece=whole_prompt or bool(whole) or in_first_piece or surplus != 0,
            prefix=prompt_length if at_once else 0,
            surplus=surplus,
        )

    def _may_be_cut(
        self, ids: mx.array | None, inputs: dict[str, Any], arrays: dict[str, Any]
    ) -> bool:
        """What the model says about reading a prompt in chunks: not when its images attend to
        themselves in both directions."""
        for owner in (self._model, self._language):
            if callable(policy := getattr(owner, "chunked_prefill_policy", None)):
                answer = policy(
                    input_ids=ids,
                    inputs_embeds=inputs.get("inputs_embeds"),
                    prefill_kwargs=arrays | inputs,
                )
                return bool(getattr(answer, "enabled", answer))
        return not any(
            getattr(owner, "no_chunked_prefill", False) for owner in (self._model, self._language)
        )

    def _without_marks(self, ready: VisionPrompt, tokens: list[int]) -> list[int]:
        """The tokens with another in place of image tokens in the answer: they show no image."""
        prompt, answer = ready.token_ids, tokens[len(ready.token_ids) :]
        if not ready.hashes or self._image_token not in answer:
            return tokens
        return [*prompt, *(0 if token == self._image_token else token for token in answer)]

    def _embed_marks(self, embeddings: mx.array, ready: VisionPrompt, tokens: list[int]) -> None:
        """Give image tokens in the answer the embedding that they had in the step that fed them."""
        begin, surplus = len(ready.token_ids), embeddings.shape[1] - len(tokens)
        marks = [i for i in range(begin, len(tokens)) if tokens[i] == self._image_token]
        if ready.hashes and marks:
            mark = self._inputs(mx.array([[self._image_token]]), {})["inputs_embeds"][:, 0]
            for i in marks:
                embeddings[:, i + surplus] = mark

    def _lengthened(self, ids: mx.array, surplus: int) -> mx.array:
        """Token ids for as many positions as there are embeddings."""
        if surplus <= 0:
            return ids
        tokens = ids[0].tolist()
        at = tokens.index(self._image_token) if self._image_token in tokens else 0
        return mx.array([[*tokens[:at], *[tokens[at]] * surplus, *tokens[at:]]])


def _cut_inputs(inputs: dict[str, Any], length: int) -> tuple[dict[str, mx.array], list[mx.array]]:
    """Take out of the inputs those that can be cut: the ones with an entry for each position, and
    those for layers with an entry for each image position."""
    aligned = {
        name: inputs.pop(name)
        for name in (*PER_POSITION, *TOKEN_TYPES)
        if name in inputs and inputs[name].shape[1] == length
    }
    layers = inputs.get("deepstack_visual_embeds")
    if isinstance(layers, mx.array) and layers.ndim == 4 and layers.shape[1] == length:
        aligned["deepstack_visual_embeds"] = inputs.pop("deepstack_visual_embeds")
    elif isinstance(layers, (list, tuple, mx.array)) and "visual_pos_masks" in aligned:
        seen = int(aligned["visual_pos_masks"].sum())
        if all(layer.shape[0] == seen for layer in layers):
            return aligned, list(inputs.pop("deepstack_visual_embeds"))
    return aligned, []


def _arrays(ready: VisionPrompt, length: int) -> dict[str, Any]:
    """The processor's arrays on the device; those with an entry for each token as long as the
    answer makes the prompt."""
    count = len(ready.token_ids)
    arrays = dict(ready.arrays)
    if length > count:
        arrays.pop("position_ids", None)
    return {name: on_device(_padded(value, count, length)) for name, value in arrays.items()}


def _padded(value: Any, count: int, length: int) -> Any:
    if isinstance(value, np.ndarray) and value.ndim > 1 and value.shape[:2] == (1, count):
        return np.pad(value, [(0, 0), (0, length - count), *[(0, 0)] * (value.ndim - 2)])
    return value


def _cut_positions(positions: mx.array, length: int, part: slice) -> mx.array:
    """Positions are [..., length], or [1, length, axes]."""
    return positions[..., part] if positions.shape[-1] == length else positions[:, part]
