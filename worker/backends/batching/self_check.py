"""What a model's rows can do together, tried when the model is loaded.

Some architectures of mlx_lm and mlx_vlm take padding into their state, or keep positions of their
last prompt: their rows say something else in company than alone, without an error. Two short
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

log = logging.getLogger(__name__)

PROMPTS = (24, 5)
"""Tokens of the two prompts: very unequal, so that padding weighs."""
TOLERANCE = 0.1
"""Largest difference of logits, root mean square in standard deviations of the logits, that is
rounding. 16-bit weights differ by 0.01 to 0.03 with the shape of a batch, padding in a state by
0.3 and more."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the batch loop may do with a model's rows.

    ``pads``: prompts of different length can be read together. ``batches``: rows can be decoded
    together. ``checkpoints``: the cache has layers that can't be cut. ``lone``: a row that is alone
    keeps its own cache.
    """

    pads: bool
    batches: bool
    checkpoints: bool
    lone: bool


Forward = Callable[[mx.array, list[Any]], mx.array]
"""Feeds [rows, tokens] to the caches of the rows; returns logits [rows, tokens, vocabulary]."""


def abilities(
    new_cache: Callable[[], list[Any]], forward: Forward, *, reads_together: bool = True
) -> Abilities:
    """Try a model out; ``reads_together`` is False for one whose prompts are never read together
    anyway."""
    layers = new_cache()
    checkpoints = kv_cache.needs_checkpoints(layers)
    if not kv_cache.can_merge(layers):
        return Abilities(pads=False, batches=False, checkpoints=checkpoints, lone=True)
    vocabulary = forward(mx.array([[0]]), layers).shape[-1]
    prompts = [_prompt(length, vocabulary) for length in PROMPTS]
    alone = [_alone(new_cache, forward, prompt) for prompt in prompts]
    batches = _agree(lambda: _decoded_together(new_cache, forward, prompts), alone)
    pads = reads_together and batches
    pads = pads and _agree(lambda: _read_together(new_cache, forward, prompts), alone)
    # Some models of mlx_vlm with such layers take a batch of one apart in every step.
    lone = not batches or (checkpoints and not reads_together)
    return Abilities(pads=pads, batches=batches, checkpoints=checkpoints, lone=lone)


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
    logits = forward(mx.array([prompt[-1:]]), layers)[:, -1, :].astype(mx.float32)
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
    return _last(forward, prompts, CacheBatch(rows, lone=False))


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
    return _last(forward, prompts, batch)


def _last(forward: Forward, prompts: list[list[int]], batch: CacheBatch) -> mx.array:
    inputs = mx.array([prompt[-1:] for prompt in prompts])
    return forward(inputs, batch.layers)[:, -1, :].astype(mx.float32)


def _agree(together: Callable[[], mx.array], alone: list[mx.array]) -> bool:
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
    return bool(mx.all(difference <= TOLERANCE * scale).item())
