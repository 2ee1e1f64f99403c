"""A continuous batch of our own, for models that mlx_lm's BatchGenerator can't run: vision, and
quantised caches.

Each prompt is read alone, one chunk per step, and then joins the rows that are decoded together.
Subclasses define how a prompt is fed and the forward pass of a decode step.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import mlx.core as mx
from mlx_vlm.models.cache import BatchKVCache, BatchQuantizedKVCache, QuantizedKVCache

from worker.backends.base import EndOfText, Step, Token
from worker.backends.batching.kv_cache import settle
from worker.backends.sampling.logits_processors import logits_processor_of, process_logits
from worker.backends.sampling.sampler import RecentTokens, RowSampler, sample
from worker.errors import WorkerError
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence

IDLE_CHUNK = 512
"""Prompt tokens a step when no stream is running: larger chunks are read faster."""
QUANTISED_GROUPS = (64, 32)
"""Group sizes of a quantised cache, by preference; one must divide the size of an attention
head."""
STEPS_BETWEEN_CLEARING = 512
"""MLX keeps freed buffers for reuse, and batches of ever new shapes would accumulate them. mlx_lm
clears as often."""
Feed = Callable[[int, int, list[Any]], object]
"""Reads the prompt's tokens from a start up to a stop position into a cache of one row."""


class Row:
    """One sequence in the batch: its tokens, its key in the prompt cache, and how far it has been
    read.

    ``key_ids`` are the token ids, but with image hashes in place of image tokens. ``embed`` runs
    before the first chunk, in steps of its own, until it returns True. It may set ``in_one_piece``
    for a prompt that can't be cut, and ``offset``: what the model adds to a row's positions in
    decode (multimodal rotary embeddings), [1, 1]. With ``shows_images`` embedding takes long.
    """

    def __init__(
        self, sequence: Sequence, tokens: list[int], left: int, key_ids: list[int] | None = None
    ) -> None:
        self.sequence = sequence
        self.tokens = tokens
        self.key_ids = list(tokens) if key_ids is None else key_ids
        self.left = left
        self.read = 0
        self.cache: list[Any] = []
        self.embed: Callable[[], bool] | None = None
        self.shows_images = False
        self.feed: Feed | None = None
        self.in_one_piece = False
        self.offset: mx.array | None = None
        self.sampler = RowSampler.of(
            sequence.job.sampling, sequence.position, logits_processor_of(sequence)
        )
        self.fresh = True
        """Whether the next input is the prompt's last token, which isn't part of the answer."""

    @property
    def before_input(self) -> list[int]:
        """The tokens before the one that is fed next."""
        return self.tokens[:-1] if self.fresh else self.tokens


class RowBackend(ABC):
    """Implements Backend except ``prepare``. Subclasses set ``weight_bytes``."""

    weight_bytes = 0

    def __init__(
        self, key: Any, stop_tokens: list[list[int]], *, prefill_step: int, cache: PromptCache
    ) -> None:
        self._key = key
        self._stop_tokens = {ids[0] for ids in stop_tokens}
        self._prefill_step = prefill_step
        self._prompt_cache = cache
        self._steps = 0
        self._caches_rows = True
        self.reset()

    @abstractmethod
    def prepare(self, sequence: Sequence) -> list[str]: ...

    @abstractmethod
    def _open(self, sequence: Sequence) -> Row:
        """A row for the sequence, with its ``feed``."""

    @abstractmethod
    def _new_cache(self) -> list[Any]:
        """An empty cache of one row."""

    @abstractmethod
    def _forward(self, inputs: mx.array, cache: list[Any], rows: list[Row]) -> mx.array:
        """Feed one token to each row; ``inputs`` is [rows], the result [rows, vocabulary]."""

    def add(self, sequence: Sequence) -> None:
        row = self._open(sequence)
        if row.left <= 0:
            raise WorkerError(
                "prompt_too_long", "The conversation fills the model's context window."
            )
        cache, row.read = self._prompt_cache.fetch(self._key, row.key_ids)
        row.cache = cache or self._new_cache()
        if not sequence.position:
            sequence.cached_tokens = row.read
        self._reading.append(row)

    def step(self, others_waiting: bool = False) -> Step:
        step = Step()
        self._steps += 1
        if self._steps % STEPS_BETWEEN_CLEARING == 0:
            mx.clear_cache()
        busy = others_waiting or bool(self._decoding)
        if self._decoding:
            self._decode(step)
        if not self._embed_some():
            self._read_one(step, busy)
        return step

    @property
    def _waits(self) -> bool:
        """Whether there is nothing to decode or read: all rows wait for their embeddings."""
        return not self._decoding and all(row.embed is not None for row in self._reading)

    def remove(self, sequence: Sequence) -> None:
        for row in [row for row in self._reading if row.sequence is sequence]:
            self._reading.remove(row)
            self._keep(row, row.key_ids[: row.read], row.cache)
        self._leave([row for row in self._decoding if row.sequence is sequence])

    def sequences(self) -> list[Sequence]:
        return [row.sequence for row in (*self._decoding, *self._reading)]

    def prefilling(self) -> list[Sequence]:
        return [sequence for sequence in self.sequences() if not sequence.generated]

    def reset(self) -> None:
        self._reading: list[Row] = []
        self._decoding: list[Row] = []
        self._batch: list[Any] = []
        self._inputs = mx.array([], dtype=mx.int32)
        self._recent = RecentTokens()

    def batch_lane(self) -> Self:
        second = copy.copy(self)
        second._caches_rows = False
        second.reset()
        return second

    def close(self) -> None:
        self.reset()
        self._prompt_cache.forget(self._key)
        mx.clear_cache()

    def _embed_some(self) -> bool:
        """Embed prompts, those without images first, until one is done; whether one is."""
        for row in sorted(self._reading, key=lambda row: row.shows_images):
            if row.embed is not None and row.embed():
                row.embed = None
                return True
        return False

    def _read_one(self, step: Step, busy: bool) -> None:
        """Read a chunk of the first embedded prompt, except its last token: that is decode's first
        input."""
        row = next((row for row in self._reading if row.embed is None), None)
        if row is None:
            return
        assert row.feed is not None, "a row is opened with its feed"
        last = len(row.tokens) - 1
        chunk = last if row.in_one_piece else self._prefill_step if busy else IDLE_CHUNK
        stop = min(last, row.read + chunk)
        if stop > row.read:
            row.feed(row.read, stop, row.cache)
            mx.eval([layer.state for layer in row.cache])
        row.read = stop
        step.prefill.append((row.sequence, stop, last + 1))
        if stop == last:
            self._reading.remove(row)
            self._join(row)

    def _join(self, row: Row) -> None:
        joining = [batched(layer) for layer in row.cache]
        row.cache = []
        if self._batch:
            for layer, new in zip(self._batch, joining, strict=True):
                layer.extend(new)
        else:
            self._batch = joining
        self._inputs = mx.concatenate([self._inputs, mx.array(row.tokens[-1:], dtype=mx.int32)])
        self._decoding.append(row)

    def _decode(self, step: Step) -> None:
        """Start computing every row's next token, and add the ones being computed to the step."""
        rows, inputs = self._decoding, self._inputs
        samplers = [row.sampler for row in rows]
        logits = process_logits(self._forward(inputs, self._batch, rows), samplers, inputs)
        recent = self._recent.advance(rows, samplers, [row.before_input for row in rows], inputs)
        self._inputs = sample(logits, samplers, recent).astype(mx.int32)
        mx.async_eval(self._inputs)
        leaving = []
        for row, token in zip(rows, inputs.tolist(), strict=True):
            if row.fresh:
                row.fresh = False
                continue
            if self._take(row, token, step):
                leaving.append(row)
        self._leave(leaving, keep=self._caches_rows)

    def _take(self, row: Row, token: int, step: Step) -> bool:
        """Add a row's token to the step; whether it was the row's last."""
        row.tokens.append(token)
        row.key_ids.append(token)
        row.left -= 1
        end: EndOfText | None = (
            "stop" if token in self._stop_tokens else "length" if row.left == 0 else None
        )
        step.tokens.append(Token(row.sequence, token, end))
        return end is not None

    def _leave(self, leaving: list[Row], *, keep: bool = True) -> None:
        """Take rows out of the batch and keep their caches, which hold all their tokens that were
        fed."""
        if not leaving:
            return
        for row in leaving if keep else ():
            index = self._decoding.index(row)
            fed = row.key_ids[:-1] if row.fresh else row.key_ids
            self._keep(row, fed, [layer.extract(index) for layer in self._batch])
        staying = [i for i, row in enumerate(self._decoding) if row not in leaving]
        self._decoding = [self._decoding[i] for i in staying]
        if not staying:
            self._batch, self._inputs = [], mx.array([], dtype=mx.int32)
            return
        indices = mx.array(staying)
        for layer in self._batch:
            layer.filter(indices)
        self._inputs = self._inputs[indices]

    def _keep(self, row: Row, key_ids: list[int], cache: list[Any]) -> None:
        row.embed = row.feed = None
        if key_ids:
            self._prompt_cache.insert(self._key, key_ids, settle(cache))


def batched(layer: Any) -> Any:
    """A batch of one from the cache of one row."""
    if isinstance(layer, QuantizedKVCache):
        batch = BatchQuantizedKVCache([0], group_size=layer.group_size, bits=layer.bits)
        if layer.keys is not None:
            held = layer.offset
            batch.keys = tuple(part[..., :held, :] for part in layer.keys)
            batch.values = tuple(part[..., :held, :] for part in layer.values)
            batch.offset = batch.offset + held
            batch._idx = held
        return batch
    return BatchKVCache.merge([layer])


def quantised_cache(layers: int, group: int, bits: int) -> list[Any]:
    """An empty quantised cache of one row."""
    return [QuantizedKVCache(group_size=group, bits=bits) for _ in range(layers)]


def quantisation_group(layers: list[Any], run: Callable[[list[Any]], object]) -> int:
    """The group size for quantising a model's cache; ``run`` feeds one token into an empty cache,
    which shows its shape.

    Raises WorkerError ``load_failed`` if this model's cache can't be quantised.
    """
    if any(type(layer).__name__ != "KVCache" for layer in layers):
        raise WorkerError("load_failed", "This architecture's key-value cache can't be quantised.")
    run(layers)
    sizes = sorted({part.shape[-1] for layer in layers for part in (layer.keys, layer.values)})
    for group in QUANTISED_GROUPS:
        if all(size % group == 0 for size in sizes):
            return group
    raise WorkerError(
        "load_failed",
        f"The key-value cache can't be quantised: heads of {sizes} values are too small.",
    )
