"""What a model's rows can do together, tried when the model is loaded.

Some architectures of mlx_lm and mlx_vlm take padding into their state, or keep positions of their
last prompt: their rows say something else in company than alone, without an error. Some short
prompts are read together and alone, and fed one more token together and alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import mlx.core as mx

from worker.backends.batching import kv_cache
from worker.backends.batching.cache_batch import CacheBatch
from worker.backends.batching.cache_maker import Forward
from worker.backends.batching.kv_cache import Pieces
from worker.backends.batching.row import Model

log = logging.getLogger(__name__)
Result = TypeVar("Result")

PROMPTS = (9, 5, 3)
"""Tokens of the prompts: unequal, so that padding weighs, and few, because on a CPU some models
take a tenth of a second for each."""
ONE_POSITION = frozenset(
    {
        "afm7",
        "cohere_compass",
        "longcat_flash_sparse",
        "minimax_m3",
        "minimax_m3_vl",
        "qwen4_exp",
        "unlimited-ocr",
    }
)
"""Architectures that count positions, or blocks of them, with the padding; Compass, which looks for
its rows in windows as if these had never come round; and Unlimited-OCR, whose merged rows keep all
of an answer. Short prompts show it too faintly or not at all."""
WIDER_MASK = frozenset({"plamo3"})
"""Architectures that look back further than their window holds where several tokens are fed at
once: as short prompts don't show, guesses would change what they say."""
ROUNDING, ROUNDING_OF_16_BITS = 0.005, 0.06
"""Largest difference of logits, root mean square in standard deviations of the logits, that is
rounding. With the shape of a batch, logits of 16 bits differ by 0.01 to 0.03; padding in a state
makes 0.3 to 1.4."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the batch loop may do with a model's rows; before they are tried out, nothing.

    ``pads``: prompts of different length can be read together. ``batches``: rows can be decoded
    together. ``lone``: a row that is alone keeps its own cache. ``drafts``: rows can be fed several
    tokens at once, of which they keep different numbers. ``token_s``: how long a token of a short
    prompt took to be read, seconds; infinite if nothing was tried.
    """

    pads: bool = False
    batches: bool = False
    lone: bool = True
    drafts: bool = False
    token_s: float = field(default=float("inf"), compare=False)


def abilities(model: Model, architecture: str, *, drafts: bool) -> Pieces[Abilities]:
    """Try a model out, a layer at a time: other models' streams go on between the pieces.
    ``drafts``: whether guesses are wanted."""
    new_cache, forward = model.caches.new, model.forward
    layers = new_cache()
    if architecture in ONE_POSITION or not kv_cache.can_merge(layers):
        return Abilities()
    logits = forward(mx.array([[0]]), layers)
    prompts = [_prompt(length, logits.shape[-1]) for length in PROMPTS]
    allowed = ROUNDING if logits.dtype == mx.float32 else ROUNDING_OF_16_BITS
    rows, token_s = [], float("inf")
    for prompt in prompts:
        row, took_s = yield from _timed(_read(forward, prompt, new_cache()))
        rows.append(row)
        token_s = min(token_s, took_s / (len(prompt) - 1))
    decoded = yield from _unless_refused(_decoded_together(forward, prompts, rows))
    alone = []
    for prompt, row in zip(prompts, rows, strict=True):
        alone.append((yield from _decoded(forward, [prompt], row)))
    batches = _agree(decoded, alone, allowed)
    pads = model.reads_together and batches
    if pads:
        read = yield from _unless_refused(_read_together(new_cache, forward, prompts))
        pads = _agree(read, alone, allowed)
    # Some models of mlx_vlm with windows or states take a batch of one apart in every step.
    lone = not batches or (model.caches.needs_checkpoints and not model.reads_together)
    drafts = drafts and architecture not in WIDER_MASK
    if drafts := drafts and pads and not lone and model.caches.cuts_rows:
        kept = yield from _unless_refused(_cut_apart(forward, prompts, rows))
        drafts = _agree(kept, alone, allowed)
    return Abilities(pads=pads, batches=batches, lone=lone, drafts=drafts, token_s=token_s)


def _prompt(length: int, vocabulary: int) -> list[int]:
    """Token ids that are spread over the vocabulary. Its ends, where many models have their
    control tokens, are left out."""
    return [
        vocabulary // 8 + (7919 * i + 31 * length) % (vocabulary // 2 or 1) for i in range(length)
    ]


def _timed(pieces: Pieces[Result]) -> Pieces[tuple[Result, float]]:
    """The same, with how long the pieces took, seconds, without what was done between them."""
    took_s = 0.0
    while True:
        began = time.monotonic()
        try:
            next(pieces)
        except StopIteration as ended:
            return ended.value, took_s + time.monotonic() - began
        took_s += time.monotonic() - began
        yield


def _read(forward: Forward, prompt: list[int], layers: list[Any]) -> Pieces[list[Any]]:
    """The cache of a prompt but for its last token."""
    forward(mx.array([prompt[:-1]]), layers)
    yield from kv_cache.evaluate_by_layer(layers)
    return layers


def _decoded_together(
    forward: Forward, prompts: list[list[int]], rows: list[list[Any]]
) -> Pieces[mx.array]:
    """The rows stay as they are."""
    copies = [kv_cache.cut(row, 0, kv_cache.checkpoint(row)) for row in rows]
    return (yield from _decoded(forward, prompts, CacheBatch(copies, lone=False).layers))


def _read_together(
    new_cache: Callable[[], list[Any]], forward: Forward, prompts: list[list[int]]
) -> Pieces[mx.array]:
    batch = CacheBatch([new_cache() for _ in prompts], lone=False)
    lengths = [len(prompt) - 1 for prompt in prompts]
    padding = [max(lengths) - length for length in lengths]
    for layer in batch.layers:
        layer.prepare(lengths=lengths, right_padding=padding)
    ids = [prompt[:-1] + [0] * pad for prompt, pad in zip(prompts, padding, strict=True)]
    forward(mx.array(ids), batch.layers)
    yield from kv_cache.evaluate_by_layer(batch.layers)
    for layer in batch.layers:
        layer.finalize()
    return (yield from _decoded(forward, prompts, batch.layers))


def _cut_apart(
    forward: Forward, prompts: list[list[int]], rows: list[list[Any]]
) -> Pieces[mx.array]:
    """Feed two tokens to each row, of which the last row keeps one and the others none. The rows
    have been decoded: they hold two tokens more than before."""
    *others, last = rows
    copies = [*(kv_cache.cut(row, 2, None) for row in others), kv_cache.cut(last, 3, None)]
    batch = CacheBatch(copies, lone=False)
    wrong = prompts[0][0]
    fed = [[wrong, wrong] for _ in others]
    forward(mx.array([*fed, [prompts[-1][-2], wrong]]), batch.layers)
    yield from kv_cache.evaluate_by_layer(batch.layers)
    batch.cut([2 for _ in others] + [1])
    return (yield from _decoded(forward, prompts, batch.layers))


def _decoded(forward: Forward, prompts: list[list[int]], layers: list[Any]) -> Pieces[mx.array]:
    """The logits of two steps, [rows, steps, vocabulary]: some errors show only in the second."""
    steps = []
    for at in (-1, 0):
        logits = forward(mx.array([[prompt[at]] for prompt in prompts]), layers)[:, -1:, :]
        yield from kv_cache.evaluate_by_layer(layers)
        mx.eval(logits)
        yield
        steps.append(logits)
    return mx.concatenate(steps, axis=1).astype(mx.float32)


def _unless_refused(logits: Pieces[mx.array]) -> Pieces[mx.array | None]:
    """The logits of rows in company, or None if the library raises an error for them."""
    try:
        return (yield from logits)
    except Exception as error:
        log.info("rows of this model can't be run together", extra={"error": repr(error)})
        return None


def _agree(got: mx.array | None, alone: list[mx.array], allowed: float) -> bool:
    """Whether rows in company have the logits that they have alone."""
    if got is None:
        return False
    expected = mx.concatenate(alone)
    difference = mx.sqrt(mx.mean(mx.square(got - expected), axis=-1))
    scale = mx.sqrt(mx.var(expected, axis=-1))
    return bool(mx.all(difference <= allowed * scale).item())
