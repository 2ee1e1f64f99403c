"""What a model's rows can do together, tried when the model is loaded.

Some architectures of mlx_lm and mlx_vlm take padding into their state, or keep positions of their
last prompt: their rows say something else in company than alone, without an error. Some short
prompts are read together and alone, and fed one more token together and alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from worker.backends.batching import kv_cache
from worker.backends.batching.cache_batch import CacheBatch
from worker.backends.batching.cache_maker import Forward
from worker.backends.batching.row import Model

log = logging.getLogger(__name__)

PROMPTS = (24, 9, 5)
"""Tokens of the prompts: unequal, so that padding weighs, and few, because streams of other models
wait meanwhile."""
ONE_POSITION = frozenset({"afm7", "minimax_m3", "minimax_m3_vl"})
"""Architectures that count positions, or blocks of them, with the padding: short prompts show it
too faintly or not at all."""
ROUNDING, ROUNDING_OF_16_BITS = 0.005, 0.06
"""Largest difference of logits, root mean square in standard deviations of the logits, that is
rounding. With the shape of a batch, logits of 16 bits differ by 0.01 to 0.03; padding in a state
makes 0.3 to 1.4."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the batch loop may do with a model's rows; before they are tried out, nothing.

    ``pads``: prompts of different length can be read together. ``batches``: rows can be decoded
    together. ``lone``: a row that is alone keeps its own cache.
    """

    pads: bool = False
    batches: bool = False
    lone: bool = True


def abilities(model: Model, architecture: str) -> Abilities:
    """Try a model out."""
    new_cache, forward = model.caches.new, model.forward
    layers = new_cache()
    if architecture in ONE_POSITION or not kv_cache.can_merge(layers):
        return Abilities()
    logits = forward(mx.array([[0]]), layers)
    prompts = [_prompt(length, logits.shape[-1]) for length in PROMPTS]
    alone = [_alone(new_cache, forward, prompt) for prompt in prompts]
    allowed = ROUNDING if logits.dtype == mx.float32 else ROUNDING_OF_16_BITS
    batches = _agree(lambda: _decoded_together(new_cache, forward, prompts), alone, allowed)
    pads = model.reads_together and batches
    pads = pads and _agree(lambda: _read_together(new_cache, forward, prompts), alone, allowed)
    # Some models of mlx_vlm with windows or states take a batch of one apart in every step.
    lone = not batches or (model.caches.needs_checkpoints and not model.reads_together)
    return Abilities(pads=pads, batches=batches, lone=lone)


def _prompt(length: int, vocabulary: int) -> list[int]:
    """Token ids that are spread over the vocabulary. Its ends, where many models have their
    control tokens, are left out."""
    return [
        vocabulary // 8 + (7919 * i + 31 * length) % (vocabulary // 2 or 1) for i in range(length)
    ]


def _read(forward: Forward, prompt: list[int], layers: list[Any]) -> None:
    forward(mx.array([prompt[:-1]]), layers)
    kv_cache.evaluate(layers)


def _alone(new_cache: Callable[[], list[Any]], forward: Forward, prompt: list[int]) -> mx.array:
    layers = new_cache()
    _read(forward, prompt, layers)
    logits = _decoded(forward, [prompt], layers)
    mx.eval(logits)
    return logits


def _decoded_together(
    new_cache: Callable[[], list[Any]], forward: Forward, prompts: list[list[int]]
) -> mx.array:
    rows = []
    for prompt in prompts:
        layers = new_cache()
        _read(forward, prompt, layers)
        rows.append(layers)
    return _decoded(forward, prompts, CacheBatch(rows, lone=False).layers)


def _read_together(
    new_cache: Callable[[], list[Any]], forward: Forward, prompts: list[list[int]]
) -> mx.array:
    batch = CacheBatch([new_cache() for _ in prompts], lone=False)
    lengths = [len(prompt) - 1 for prompt in prompts]
    padding = [max(lengths) - length for length in lengths]
    for layer in batch.layers:
        layer.prepare(lengths=lengths, right_padding=padding)
    ids = [prompt[:-1] + [0] * pad for prompt, pad in zip(prompts, padding, strict=True)]
    forward(mx.array(ids), batch.layers)
    for layer in batch.layers:
        layer.finalize()
    kv_cache.evaluate(batch.layers)
    return _decoded(forward, prompts, batch.layers)


def _decoded(forward: Forward, prompts: list[list[int]], layers: list[Any]) -> mx.array:
    """The logits of two steps, [rows, steps, vocabulary]: some errors show only in the second."""
    steps = [
        forward(mx.array([[prompt[at]] for prompt in prompts]), layers)[:, -1:, :] for at in (-1, 0)
    ]
    return mx.concatenate(steps, axis=1).astype(mx.float32)


def _agree(together: Callable[[], mx.array], alone: list[mx.array], allowed: float) -> bool:
    """Whether rows in company have the logits that they have alone; an error means no."""
    expected = mx.concatenate(alone)
    try:
        got = together()
        mx.eval(got)
    except Exception as error:
        log.info("rows of this model can't be run together", extra={"error": repr(error)})
        return False
    difference = mx.sqrt(mx.mean(mx.square(got - expected), axis=-1))
    scale = mx.sqrt(mx.var(expected, axis=-1))
    return bool(mx.all(difference <= allowed * scale).item())
