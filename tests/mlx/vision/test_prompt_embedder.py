"""What a language model is fed with: the same whatever the cuts, and each row's own."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_vlm.models.base import InputEmbeddingsFeatures

from worker.backends.vision.embeddings import PromptEmbedder
from worker.backends.vision.prompt import VisionPrompt, key_ids

IMAGE = 9
PROMPT = [1, 2, IMAGE, IMAGE, IMAGE, 3, 4, 5]
SHOWN = ("a" * 64,)


class Language:
    """A language model that notes what it is fed with: ids, per_layer_inputs, visual_pos_masks,
    deepstack_visual_embeds, mm_token_type_ids."""

    def __init__(self) -> None:
        self.fed: list[dict[str, Any]] = []

    def __call__(self, ids: mx.array, **inputs: Any) -> None:
        self.fed.append({"ids": ids, **inputs})

    def joined(self, name: str, axis: int = 1) -> list[Any]:
        return mx.concatenate([call[name] for call in self.fed], axis=axis).tolist()  # type: ignore[no-any-return]


class Model:
    """A vision model whose embedding of a token is the token's number, and 100 for an image."""

    config = SimpleNamespace(model_type="model")

    def __init__(self, language: Any = None, **features: Any) -> None:
        self.language_model = Language() if language is None else language
        self.features = features
        self.calls: list[dict[str, Any]] = []

    def get_input_embeddings(
        self, ids: mx.array, pixel_values: Any = None, **inputs: Any
    ) -> InputEmbeddingsFeatures:
        self.calls.append({"ids": ids.tolist(), "pixel_values": pixel_values, **inputs})
        embeddings = ids[..., None].astype(mx.float32)
        if pixel_values is None:
            return InputEmbeddingsFeatures(embeddings)
        return InputEmbeddingsFeatures(
            mx.where(ids[..., None] == IMAGE, 100.0, embeddings), **self.features
        )


def prompt(tokens: list[int] = PROMPT, **arrays: Any) -> VisionPrompt:
    arrays = {"pixel_values": np.zeros((1, 3, 2, 2), np.float32), **arrays}
    return VisionPrompt(tokens, key_ids(tokens, IMAGE, SHOWN), arrays, SHOWN)


def embedded(model: Model, ready: VisionPrompt, tokens: list[int], read: int = 0) -> Any:
    result = PromptEmbedder(model, None, IMAGE).embed(ready, tokens, read)
    assert result is not None
    return result


def in_pieces(result: Any, *cuts: int) -> None:
    bounds = [0, *cuts, result.ids.shape[1] - result.surplus]
    for start, stop in pairwise(bounds):
        result.feed(start, stop, [])


@pytest.mark.parametrize("cuts", [(), (3,), (1, 2, 3, 4, 5, 6, 7)])
def test_inputs_for_each_position_are_cut_like_the_embeddings(cuts: tuple[int, ...]) -> None:
    positions = mx.arange(8)[None, :, None, None]
    model = Model(per_layer_inputs=positions, visual_pos_masks=mx.array([PROMPT]) == IMAGE)
    result = embedded(model, prompt(), PROMPT)
    assert not result.in_one_piece
    in_pieces(result, *cuts)
    fed = model.language_model
    assert fed.joined("ids") == [PROMPT]
    assert fed.joined("inputs_embeds") == [[[100.0 if t == IMAGE else t] for t in PROMPT]]
    assert fed.joined("per_layer_inputs") == positions.tolist()


@pytest.mark.parametrize("cuts", [(), (3,), (2, 5), (1, 4)])
def test_inputs_for_layers_go_with_their_images_positions(cuts: tuple[int, ...]) -> None:
    layers = mx.arange(6).reshape(2, 3, 1)  # Two layers, three image positions.
    model = Model(deepstack_visual_embeds=layers, visual_pos_masks=mx.array([PROMPT]) == IMAGE)
    result = embedded(model, prompt(), PROMPT)
    assert not result.in_one_piece
    in_pieces(result, *cuts)
    for call in model.language_model.fed:
        assert len(call["deepstack_visual_embeds"][0]) == int(call["visual_pos_masks"].sum())
    rows = [call["deepstack_visual_embeds"] for call in model.language_model.fed]
    assert [mx.concatenate(list(parts)).tolist() for parts in zip(*rows, strict=True)] == (
        layers.tolist()
    )


def test_positions_may_have_their_axes_first_or_last() -> None:
    for positions in (mx.arange(24).reshape(3, 1, 8), mx.arange(24).reshape(1, 8, 3)):
        language = Language()
        language.get_rope_index = lambda *_: None  # type: ignore[attr-defined]
        model = Model(language, position_ids=positions, rope_deltas=mx.array([[-2]]))
        result = embedded(model, prompt(), PROMPT)
        in_pieces(result, 3)
        axis = 2 if positions.shape[-1] == 8 else 1
        assert language.joined("position_ids", axis) == positions.tolist()
        assert result.decode_inputs["rope_deltas"].tolist() == [[-2]]


class Keeping(Language):
    """A language model that keeps the positions of the prompt it was shown last, as GLM's do."""

    def __init__(self) -> None:
        super().__init__()
        self._position_ids: mx.array | None = None
        self._rope_deltas: mx.array | None = None

    def __call__(self, ids: mx.array, **inputs: Any) -> None:
        super().__call__(ids, **inputs)
        if "position_ids" not in inputs:
            assert self._position_ids is None, "these are another prompt's"
            self._position_ids = mx.arange(ids.shape[1])

    def get_rope_index(self, ids: mx.array, grid: mx.array) -> tuple[mx.array, mx.array]:
        return mx.arange(ids.shape[1])[None, None] + 10 * grid[0, 0], mx.array([[7]])


class Glm(Model):
    def get_input_embeddings(
        self, ids: mx.array, pixel_values: Any = None, **inputs: Any
    ) -> InputEmbeddingsFeatures:
        if pixel_values is not None:
            positions, offset = self.language_model.get_rope_index(ids, inputs["image_grid_thw"])
            self.language_model._position_ids = positions
            self.language_model._rope_deltas = offset
        return super().get_input_embeddings(ids, pixel_values, **inputs)


def test_positions_that_a_language_model_keeps_become_the_rows_own() -> None:
    model = Glm(Keeping())
    one, two = (
        embedded(model, prompt(image_grid_thw=np.array([[grid, 1, 1]])), PROMPT) for grid in (1, 2)
    )
    words = embedded(model, VisionPrompt([1, 2], [1, 2], {}, ()), [1, 2])
    for result in (words, one, two, words):
        in_pieces(result, 1)
    starts = [
        call.get("position_ids", mx.array([0]))[..., :1].item()
        for call in model.language_model.fed[::2]
    ]
    assert starts == [0, 10, 20, 0]
    assert one.decode_inputs["rope_deltas"].tolist() == [[7]]
    assert words.decode_inputs["rope_deltas"].tolist() == [[0]]
    assert model.language_model._position_ids is None
    assert model.language_model._rope_deltas.tolist() == [[0]]


def test_images_behind_the_reader_matter_by_their_positions_alone() -> None:
    model = Glm(Keeping())
    ready = prompt(image_grid_thw=np.array([[3, 1, 1]]))
    result = embedded(model, ready, PROMPT, read=6)
    assert model.calls[0]["pixel_values"] is None
    assert result.positions.tolist() == [[[30 + i for i in range(8)]]]
    assert result.decode_inputs["rope_deltas"].tolist() == [[7]]


def test_images_behind_the_reader_are_shown_where_positions_are_numbered_by_them() -> None:
    class Canvas(Model):
        config = SimpleNamespace(model_type="minicpmv4_7")

    model = Canvas()
    embedded(model, prompt(), PROMPT, read=len(PROMPT) - 1)
    assert model.calls[-1]["pixel_values"] is not None


def test_images_that_see_in_both_directions_are_read_in_one_piece() -> None:
    types = np.array([[0, 0, 1, 1, 1, 0, 0, 0]])
    language = Language()
    language.chunked_prefill_policy = (  # type: ignore[attr-defined]
        lambda *, prefill_kwargs, **_: "mm_token_type_ids" not in prefill_kwargs
    )
    model = Model(language)
    result = embedded(model, prompt(mm_token_type_ids=types), PROMPT)
    assert result.in_one_piece
    result.feed(0, 7, [])
    assert language.joined("mm_token_type_ids") == types[:, :7].tolist()
    behind = embedded(model, prompt(mm_token_type_ids=types), PROMPT, read=5)
    assert not behind.in_one_piece


def test_inputs_that_cannot_be_cut_keep_the_prompt_in_one_piece_until_it_is_read() -> None:
    # A module that takes an input names it, as this one must not.
    model = Model(**{"attention_mask" + "_4d": mx.ones((1, 1, 8, 8))})
    result = embedded(model, prompt(), PROMPT)
    assert not result.in_one_piece
    assert not result.whole
    model = Model(deepstack_visual_embeds=mx.ones((2, 8, 1)))
    assert embedded(model, prompt(), PROMPT).in_one_piece
    assert not embedded(model, prompt(), PROMPT, read=5).in_one_piece


def test_one_mark_for_a_whole_image_makes_the_prompt_longer() -> None:
    class Inserting(Model):
        def get_input_embeddings(
            self, ids: mx.array, pixel_values: Any = None, **inputs: Any
        ) -> InputEmbeddingsFeatures:
            features = super().get_input_embeddings(ids, pixel_values, **inputs)
            whole = features.inputs_embeds
            return InputEmbeddingsFeatures(
                mx.concatenate([whole[:, :2], *[mx.full((1, 1, 1), 100.0)] * 5, whole[:, 3:]], 1)
            )

    tokens = [1, 2, IMAGE, 3, 4]
    model = Inserting()
    result = embedded(model, prompt(tokens), tokens)
    assert (result.surplus, result.in_one_piece, result.reusable) == (4, True, False)
    result.feed(0, 4, [])
    assert model.language_model.joined("ids") == [[1, 2, IMAGE, IMAGE, IMAGE, IMAGE, IMAGE, 3]]
    assert model.language_model.joined("inputs_embeds")[0][-2:] == [[100.0], [3.0]]


def test_an_image_token_in_an_answer_shows_no_image() -> None:
    model = Model()
    types = np.array([[0, 0, 1, 1, 1, 0, 0, 0]])
    tokens = [*PROMPT, 6, IMAGE, 7]
    result = embedded(model, prompt(mm_token_type_ids=types), tokens)
    assert model.calls[0]["ids"] == [[*PROMPT, 6, 0, 7]]
    assert model.calls[0]["mm_token_type_ids"].tolist() == [[*types[0].tolist(), 0, 0, 0]]
    assert result.embeddings[0, -3:, 0].tolist() == [6.0, float(IMAGE), 7.0]


def test_arrays_of_several_sizes_reach_the_model_as_a_list() -> None:
    model = Model()
    sizes = [np.zeros((1, 3, 2, 2), np.float32), np.zeros((1, 3, 4, 2), np.float32)]
    ready = prompt(pixel_values=sizes, tgt_sizes=[[np.array([1, 2])]])
    embedded(model, ready, PROMPT)
    call = model.calls[0]
    assert [pixels.shape for pixels in call["pixel_values"]] == [(1, 3, 2, 2), (1, 3, 4, 2)]
    assert call["tgt_sizes"][0][0].tolist() == [1, 2]
    assert call["mask"].tolist() == [[1] * len(PROMPT)]


def test_a_prompt_without_an_images_mark_is_not_reusable_and_shows_its_images() -> None:
    tokens = [1, 2, 3]
    assert not prompt(tokens).reusable
    assert prompt().reusable
    assert VisionPrompt(tokens, tokens, {}, ()).reusable
    model = Model()
    embedded(model, prompt(tokens), tokens, read=2)
    assert model.calls[0]["pixel_values"] is not None


def test_images_that_are_counted_down_from_minus_one_have_keys_of_their_own() -> None:
    tokens, two = [1, -1, -1, 2, -2, 3], ("a" * 64, "b" * 64)
    keys = key_ids(tokens, 999, two)
    assert [keys[i] for i in (0, 3, 5)] == [1, 2, 3]
    assert keys[1] == keys[2] != keys[4]
    assert max(keys[1], keys[4]) < -2
    assert keys != key_ids(tokens, 999, two[::-1])


@pytest.mark.parametrize("answer", [[], [6], [6, 7, 8]])
def test_a_prompt_that_sees_both_ways_is_read_at_once_and_an_answer_one_by_one(
    answer: list[int],
) -> None:
    class Layer:
        length = 0

        def trim(self, tokens: int) -> None:
            self.length -= tokens

    class Reading(Language):
        def __call__(self, ids: mx.array, **inputs: Any) -> None:
            super().__call__(ids, **inputs)
            inputs["cache"][0].length += ids.shape[1]

        def chunked_prefill_policy(self, **_: Any) -> bool:
            return False

    model, layer, tokens = Model(Reading()), Layer(), [*PROMPT, *answer]
    result = embedded(model, prompt(), tokens)
    assert result.in_one_piece
    result.feed(0, len(tokens) - 1, [layer])
    assert [call["ids"].shape[1] for call in model.language_model.fed] == [
        len(PROMPT),
        *[1] * (len(answer) - 1),
    ]
    assert layer.length == len(tokens) - 1
