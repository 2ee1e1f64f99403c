"""Prompts as a vision model's language model takes them: embeddings with the images in place,
positions, and whatever else goes along.

Knows no batch: everything here is about one row. For the engine's thread only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from worker.backends.vision.encoder import VisionEncoder
from worker.backends.vision.prompt import VisionPrompt


@dataclass(frozen=True, slots=True)
class Embedded:
    """A prompt's inputs to the language model.

    ``others`` are inputs beside embeddings and positions that can't be cut. ``decode_inputs`` are
    keyword arguments of each decode step, [1, ...] for this row; a batch concatenates those of its
    rows, with zeros for rows that have none.
    """

    language: Any
    ids: mx.array
    embeddings: mx.array
    positions: mx.array | None
    others: dict[str, Any] = field(default_factory=dict)
    decode_inputs: dict[str, mx.array] = field(default_factory=dict)

    @property
    def in_one_piece(self) -> bool:
        """Whether the prompt must be read from its first position to its last in one call."""
        return bool(self.others)

    def feed(self, start: int, stop: int, cache: list[Any]) -> None:
        """Read the positions from ``start`` up to ``stop`` into a cache of one row, which holds all
        those before."""
        extra = dict(self.others)
        if self.positions is not None:
            extra["position_ids"] = self.positions[..., start:stop]
        self.language(
            self.ids[:, start:stop],
            inputs_embeds=self.embeddings[:, start:stop],
            cache=cache,
            **extra,
        )


class PromptEmbedder:
    """Embeds prompts for one vision model. ``encoder`` computes image features beside other work,
    for the families that take them ready-made."""

    def __init__(self, model: Any, encoder: VisionEncoder | None, image_token: int | None) -> None:
        self._model = model
        self._language = model.language_model
        self._encoder = encoder
        self._image_token = image_token
        self._has_positions = hasattr(self._language, "get_rope_index")

    def embed(self, ready: VisionPrompt, tokens: list[int], read: int) -> Embedded | None:
        """The inputs for ``tokens``, which begin with the prompt's and may go on with an answer's.

        The first ``read`` of them are in a cache already. None while image features are still being
        computed: ask again after the next step.
        """
        unread = self._image_token in tokens[read:]
        if "pixel_values" in ready.arrays and not unread and self._has_positions:
            embedded = self._behind_images(ready, tokens)
        else:
            features = None
            if "pixel_values" in ready.arrays and unread and self._encoder is not None:
                pixels, grid = ready.arrays["pixel_values"], ready.arrays["image_grid_thw"]
                features = self._encoder.features(ready.hashes, pixels, grid)
                if features is None:
                    return None
            embedded = self._with_images(ready, tokens, features)
        mx.eval(embedded.embeddings)
        return embedded

    def _behind_images(self, ready: VisionPrompt, tokens: list[int]) -> Embedded:
        """Embed a prompt whose images are all in its cached part: only their positions matter."""
        ids, grid = mx.array([tokens]), ready.arrays.get("image_grid_thw")
        positions, offset = self._language.get_rope_index(
            ids, None if grid is None else mx.array(grid)
        )
        return Embedded(
            self._language,
            ids,
            self._language.model.embed_tokens(ids),
            positions,
            decode_inputs=_offset(offset),
        )

    def _with_images(
        self, ready: VisionPrompt, tokens: list[int], features: mx.array | None
    ) -> Embedded:
        """Embed a whole prompt; ``features`` are those of its images if they are computed."""
        ids = mx.array([tokens])
        arrays = {name: mx.array(value) for name, value in ready.arrays.items()}
        pixels = arrays.pop("pixel_values", None)
        if features is not None:
            arrays["cached_image_features"] = features
        inputs = self._model.get_input_embeddings(ids, pixels, **arrays).to_dict()
        return Embedded(
            self._language,
            ids,
            inputs.pop("inputs_embeds"),
            inputs.pop("position_ids"),
            decode_inputs=_offset(inputs.pop("rope_deltas")),
            others={name: value for name, value in inputs.items() if value is not None},
        )


def _offset(rope_deltas: mx.array | None) -> dict[str, mx.array]:
    """What the model adds to a row's positions in decode, as an argument of its steps."""
    return {} if rope_deltas is None else {"rope_deltas": rope_deltas}
