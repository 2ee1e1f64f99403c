"""Rows of one language model: none takes what another one has left in it."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from tests.mlx.vision.test_prompt_embedder import Language, Model, embedded, in_pieces
from worker.backends.vision.prompt import VisionPrompt


def test_a_pieces_positions_are_its_rows_own_whatever_other_rows_have_left() -> None:
    class Numbering(Language):
        _rope_deltas: Any = None
        _position_ids: Any = None

        def __call__(self, ids: mx.array, **inputs: Any) -> None:
            super().__call__(ids, own=self._rope_deltas, **inputs)
            self._rope_deltas = mx.array([[-7], [-8]])  # A step of two other rows.

    model = Model(Numbering())
    words = VisionPrompt([1, 2, 3, 4], [1, 2, 3, 4], {}, ())
    in_pieces(embedded(model, words, words.token_ids), 2)
    assert [call["own"].tolist() for call in model.language_model.fed] == [[[0]], [[0]]]
