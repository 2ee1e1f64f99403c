"""Llama 3.2 Vision: pictures that some layers look at by cross attention.

What it says is compared with numpy in tests/model_kinds; here are the parts, and what those checks
don't reach.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_vlm.models.base import create_attention_mask
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.models.mllama import Model, ModelConfig, TextConfig, VisionConfig

from tests.model_kinds.chats import Chats, text_of
from tests.model_kinds.conversations import assistant, user
from tests.model_kinds.kinds import make_folder
from tests.model_kinds.pictures import shown
from worker.backends.batching import kv_cache
from worker.backends.vision.cross_attention import CrossAttention, CrossAttentionCache
from worker.backends.vision.prompt import VisionPrompt, key_ids
from worker.errors import WorkerError

HEADS, SIZE, TOKENS = 2, 32, [1, 2, 3, 4, 5]
IMAGE = 9


def tiny(dtype: mx.Dtype = mx.float32) -> Any:
    """A model with random weights of which the second and the fourth layer look at pictures."""
    text = TextConfig(
        vocab_size=40,
        hidden_size=HEADS * SIZE,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        cross_attention_layers=[1, 3],
    )
    tower = VisionConfig(
        image_size=28,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_global_layers=1,
        intermediate_layers_indices=[0, 1],
        vision_output_dim=96,
    )
    model = Model(ModelConfig(text, tower, "mllama", image_token_index=IMAGE))
    mx.random.seed(3)
    model.load_weights(
        [
            (name, (0.3 * mx.random.normal(like.shape) + (like.ndim == 1)).astype(dtype))
            for name, like in tree_flatten(model.parameters())
        ]
    )
    return model


def prompt(*seeds: int, tokens: tuple[int, ...] = (1, 2)) -> VisionPrompt:
    """Pictures of one tile between two parts of a text."""
    ids = [*tokens, *(part for _ in seeds for part in (IMAGE, 3)), 4, 5]
    marks = [i for i, token in enumerate(ids) if token == IMAGE]
    seen = np.zeros((1, len(ids), len(seeds), 4), dtype=np.int64)
    for picture, (start, stop) in enumerate(zip(marks, [*marks[1:], len(ids)], strict=True)):
        seen[:, start:stop, picture, 0] = 1
    pixels = [np.random.default_rng(seed).standard_normal((4, 3, 28, 28)) for seed in seeds]
    arrays = {
        "pixel_values": np.stack(pixels)[None].astype(np.float32),
        "aspect_ratio_ids": np.ones((1, len(seeds)), dtype=np.int64),
        "aspect_ratio_mask": np.array([[[1, 0, 0, 0]] * len(seeds)]),
        "cross_attention_mask": seen,
    }
    hashes = tuple(f"{seed:x}" * 64 for seed in seeds)
    return VisionPrompt(ids, key_ids(ids, IMAGE, hashes), arrays, hashes)


def read(across: CrossAttention, ready: VisionPrompt, cut: int, *, dtype: Any = None) -> mx.array:
    """The logits of a prompt that is read in two pieces."""
    cache = across.new_cache()
    feed = across.show(ready, ready.token_ids, cache, 0)
    logits = [feed(0, cut, cache).logits, feed(cut, len(ready.token_ids), cache).logits]
    assert dtype is None or {leaf.keys.dtype for leaf in cache} == {dtype}
    return mx.concatenate(logits, axis=1)


def close(one: mx.array, other: mx.array) -> bool:
    return bool(mx.allclose(one, other, rtol=1e-4, atol=1e-4).item())


# --- what is relied on of the library -------------------------------------------------------------


def test_a_layer_fetches_from_a_cache_what_it_would_compute_of_the_pictures() -> None:
    model, ready = tiny(), prompt(1, 2)
    across = CrossAttention(model)
    whole = model(
        mx.array([ready.token_ids]),
        cache=make_prompt_cache(model.language_model),
        **{name: mx.array(value) for name, value in ready.arrays.items()},
    )
    for cut in (1, 3, 6):
        assert close(read(across, ready, cut), whole.logits)


def test_the_library_has_a_mask_for_each_token_and_one_for_its_feed_forward_part() -> None:
    made = tiny().get_input_embeddings(
        mx.array([TOKENS]), cross_attention_mask=mx.zeros((1, len(TOKENS), 1, 4))
    )
    features = 4 * (2 * 2 + 1)
    assert made.cross_attention_mask.shape == (1, 1, len(TOKENS), features)
    assert made.cross_attention_mask.tolist() == mx.zeros((1, 1, len(TOKENS), features)).tolist()
    assert made.full_text_row_masked_out_mask.shape == (1, 1, len(TOKENS), 1)
    assert not made.full_text_row_masked_out_mask.any().item()


# --- prompts --------------------------------------------------------------------------------------


def test_words_alone_skip_the_layers_that_look_at_pictures() -> None:
    model = tiny()
    across, inner = CrossAttention(model), model.language_model.model
    cache = across.new_cache()
    fed = [
        model.language_model(mx.array([part]), cache=cache, **across.inputs(cache)).logits
        for part in (TOKENS[:3], TOKENS[3:])
    ]
    x = inner.embed_tokens(mx.array([TOKENS]))
    for layer in (inner.layers[0], inner.layers[2]):
        x = layer(x, mask=create_attention_mask(x))
    assert close(mx.concatenate(fed, axis=1), model.language_model.lm_head(inner.norm(x)))


def test_an_answer_sees_the_pictures_that_the_end_of_its_prompt_does() -> None:
    model, ready = tiny(), prompt(1, 2)
    across, cache = CrossAttention(model), CrossAttention(model).new_cache()
    feed = across.show(ready, ready.token_ids, cache, 0)
    feed(0, len(ready.token_ids), cache)
    decoded = [
        model.language_model(mx.array([[token]]), cache=cache, **across.inputs(cache)).logits
        for token in (6, 7)
    ]
    longer = [*ready.token_ids, 6, 7]
    again = across.new_cache()
    read_again = across.show(ready, longer, again, 0)(0, len(longer), again).logits[:, -2:]
    assert close(mx.concatenate(decoded, axis=1), read_again)
    features = mx.arange(2 * 4 * 5) // 5  # five of each tile, four tiles of each picture
    hidden = (cache[1].hidden.flatten() < -1e6).tolist()
    assert hidden == (features != 4).tolist()


def test_pictures_of_a_prompt_that_is_known_are_not_computed_again() -> None:
    across, ready = CrossAttention(tiny()), prompt(1)
    cache = across.new_cache()
    across.show(ready, ready.token_ids, cache, 0)
    kept = kv_cache.cut(cache, 0, None)
    del ready.arrays["pixel_values"]
    across.show(ready, ready.token_ids, kept, 3)
    assert mx.array_equal(kept[1].keys, cache[1].keys).item()


def test_the_caches_stay_in_the_models_own_type() -> None:
    logits = read(CrossAttention(tiny(mx.bfloat16)), prompt(1), 3, dtype=mx.bfloat16)
    assert logits.dtype == mx.bfloat16
    assert not mx.isnan(logits).any().item()


def test_what_lies_before_a_picture_is_known_by_all_pictures() -> None:
    across = CrossAttention(tiny())
    one, other, both = (across.key_ids(prompt(*seeds)) for seeds in ((1,), (2,), (1, 2)))
    assert len({one[0], other[0], both[0]}) == 3
    assert max(one[0], other[0], both[0]) < 0
    words = VisionPrompt(TOKENS, TOKENS, {}, ())
    assert across.key_ids(words) == TOKENS


def test_pictures_without_a_place_in_the_prompt_are_refused() -> None:
    ready = prompt(1)
    ready.arrays["cross_attention_mask"] = np.zeros((1, len(ready.token_ids), 0, 4))
    with pytest.raises(WorkerError) as caught:
        CrossAttention(tiny()).key_ids(ready)
    assert caught.value.code == "template_failed"


def test_a_cache_of_pictures_is_cut_with_the_others_and_stays_as_it_is() -> None:
    cache = CrossAttention(tiny()).new_cache()
    assert not kv_cache.needs_checkpoints(cache)
    assert kv_cache.is_cuttable(cache)
    across = cache[1]
    assert isinstance(across, CrossAttentionCache)
    assert kv_cache.cut([across], 3, None)[0].keys.shape == across.keys.shape
    assert kv_cache.nbytes([across]) == 4 * (2 * SIZE + 2)
    assert not kv_cache.can_merge(cache)


# --- chats ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder("mllama+vision", tmp_path_factory.mktemp("kinds") / "mllama")


@pytest.mark.parametrize("kv", [None, 8, 4])
def test_the_next_turn_about_a_picture_is_read_from_the_cache(
    folder: Path, kv: Literal[4, 8] | None
) -> None:
    remembering, cold = (Chats(folder, kv=kv, remembers=kept) for kept in (True, False))
    first = [shown("what is in this one?", 0)]
    one = remembering.answered(first)
    said = assistant(text_of(one.generated))
    two = remembering.answered([*first, said, user("and its colour?")])
    assert two.cached_tokens >= len(one.prompt_ids)
    assert two.generated == cold.answered([*first, said, user("and its colour?")]).generated
    # Another picture changes also what the model makes of the words before the first.
    three = [*first, said, shown("and here?", 2)]
    another = remembering.answered(three)
    assert another.cached_tokens == 0
    assert another.generated == cold.answered(three).generated


def test_a_folder_of_16_bits_answers_about_pictures(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = mx.load(str(folder / "model.safetensors"))
    assert isinstance(weights, dict)
    halves = {name: array.astype(mx.bfloat16) for name, array in weights.items()}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), halves, metadata={"format": "mlx"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["torch_dtype"] = "bfloat16"
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    chats = Chats(tmp_path, remembers=False)
    assert len(chats.answered([shown("what is this?", 0)]).generated) > 1
    assert chats.backend._model.caches.new()[1].keys.dtype == mx.bfloat16  # type: ignore[attr-defined]
