"""What mlx_vlm's models do wrong or leave out, and what they say right with it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from worker.backends.vision.overlapping_windows import keep_windows


def repair(model: Any) -> None:
    """Have a loaded model do what the library has wrong; most models need nothing."""
    if model.config.model_type == "minicpmo":
        model.language_model.get_rope_index = _in_order
    elif model.config.model_type == "deepseek_v4":
        keep_windows(model.language_model)
    elif model.config.model_type == "hy_v4":
        _choose_keys_uncompiled(model.language_model)
    elif model.config.model_type == "unlimited-ocr":
        model.language_model.chunked_prefill_policy = _in_one_piece
    elif model.config.model_type == "mistral_large3":
        _take_embeddings(model.language_model)
    elif model.config.model_type == "gemma3n":
        _scale_words(model)
        for layer in model.language_model.layers:
            if layer.self_attn.is_kv_shared_layer:
                layer.self_attn.rope = _before_update(layer.self_attn.rope)


def _in_order(ids: mx.array, *_: Any, **__: Any) -> tuple[mx.array, mx.array]:
    """The positions of MiniCPM-o's tokens, [3, rows, tokens], and how far they are from their
    places: not at all.

    Its language model is Qwen3-VL's, which asks for the size of the tower's merged patches. This
    tower has none: the tokens of a picture are numbered as words are. mlx_vlm sets these numbers
    before it calls the language model, and a call without them fails.
    """
    rows, length = ids.shape
    positions = mx.broadcast_to(mx.arange(length), (3, rows, length))
    return positions, mx.zeros((rows, 1), dtype=mx.int32)


def _choose_keys_uncompiled(language: Any) -> None:
    """Have Hunyuan 4's indexers choose the best keys, however many there are.

    mlx_vlm compiles the choice for all shapes at once, and counts ``kth`` of argpartition from the
    end. MLX makes it a place from the start when it traces the function, and keeps that for longer
    prompts: on a CPU, the text would depend on what was read first. DeepSeek V3.2's indexer, which
    is the base, makes the same choice uncompiled.
    """
    for layer in language.layers:
        indexer = layer.self_attn.indexer
        if indexer is not None:
            indexer.__class__ = type(indexer).__base__


def _in_one_piece(**_: Any) -> bool:
    """Whether prompts of Unlimited-OCR may be cut: no.

    Its cache keeps all tokens of the first piece and the last 128 behind it. That is meant for a
    prompt and an answer: what would be cut off a prompt would be dropped in the course of it.
    """
    return False


def _take_embeddings(language: Any) -> None:
    """Have Mistral Large 3 read what was embedded.

    Its language model is DeepSeek V3's, which embeds token ids again in place of the embeddings
    that it is given: no picture would ever be seen.
    """
    kind: Any = type(language)
    language.__class__ = _with_embeddings(kind)


@functools.cache
def _with_embeddings(original: type) -> type:
    """The same class of language model, which reads what was embedded."""

    def call(self: Any, inputs: Any = None, *, inputs_embeds: Any = None, **options: Any) -> Any:
        if inputs_embeds is None:
            return original.__call__(self, inputs, **options)
        words = self.model.embed_tokens
        self.model.embed_tokens = lambda _: inputs_embeds
        try:
            return original.__call__(self, inputs, **options)
        finally:
            self.model.embed_tokens = words

    members = {"__call__": call, "__module__": original.__module__}
    return type(original.__name__, (original,), members)


def _scale_words(model: Any) -> None:
    """Have Gemma 3n's prompts embedded as its answers are.

    The model scales a token that it embeds itself, as transformers does, and not those that
    ``get_input_embeddings`` has embedded: words before an answer would weigh less than in it.
    """
    inner = model.language_model.model
    plain, embedded = inner.embed_tokens, model.get_input_embeddings

    def get_input_embeddings(*args: Any, **options: Any) -> Any:
        inner.embed_tokens = lambda ids: plain(ids) * inner.hidden_size**0.5
        try:
            return embedded(*args, **options)
        finally:
            inner.embed_tokens = plain

    model.get_input_embeddings = get_input_embeddings


def _before_update(rope: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """The rotation of the queries of Gemma 3n's layers that read another one's keys.

    mlx_vlm takes their positions from that layer's cache, which holds these tokens already: the
    text would depend on where a prompt is cut. mlx_lm takes them from before.
    """

    def rotate(queries: mx.array, offset: Any) -> mx.array:
        return rope(queries, offset=offset - queries.shape[2])

    return rotate
