"""Vision models through mlx_vlm: chats with and without images in one continuous batch.

Prompt caches are keyed by the token ids with each image's hash in place of its tokens, so another
image never gets an old image's answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import mlx.core as mx
from mlx_lm.utils import load_tokenizer
from mlx_vlm import load
from mlx_vlm.models.cache import KVCache, make_prompt_cache

from wire.messages import Message
from wire.model_registry import ModelRecord
from worker import prompt
from worker.backends.base import Step
from worker.backends.batching.round_robin import RoundRobin
from worker.backends.batching.row_batch import (
    Feed,
    Row,
    RowBackend,
    quantisation_group,
    quantised_cache,
)
from worker.backends.loading import evaluate, load_failed, refuse_code, weight_bytes
from worker.backends.sampling.json_schema import Grammars, warnings_of
from worker.backends.text.decoder import Decoders
from worker.backends.vision.encoder import POLL_S, VisionEncoder
from worker.backends.vision.prompt import VisionPrompt, VisionText
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence


def open_model(record: ModelRecord, *, prefill_step: int, cache: PromptCache) -> VlmBackend:
    """Load a vision model. Raises WorkerError ``load_failed`` with the reason."""
    refuse_code(record)
    try:
        # The processors are the library's own; code in a model's folder is not run.
        model, processor = load(record.path, trust_remote_code=False)
        evaluate(model)
    except Exception as error:
        raise load_failed(error) from error
    plain = all(type(layer) is KVCache for layer in make_prompt_cache(model.language_model))
    kind = VlmBackend if plain else VlmRoundRobin
    return kind(model, processor, record, prefill_step=prefill_step, cache=cache)


@dataclass(frozen=True, slots=True)
class _Embedded:
    """A prompt's inputs to the language model. ``offset`` is what the model adds to positions in
    decode; ``others`` are inputs for deeper layers."""

    ids: mx.array
    embeddings: mx.array
    positions: mx.array | None
    offset: mx.array | None
    others: dict[str, Any] = field(default_factory=dict)


class VlmBackend(RowBackend):
    """A vision model whose sequences run in one continuous batch."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        record: ModelRecord,
        *,
        prefill_step: int,
        cache: PromptCache,
    ) -> None:
        # mlx_lm's wrapper creates a streaming detokeniser for each chat; the processor shares one.
        self._text = load_tokenizer(Path(record.path), {"trust_remote_code": False})
        ends = _end_tokens(model, self._text)
        self._grammars = Grammars(self._text, ends)
        self._decoders = Decoders(self._text)
        key = (record.id, record.revision, record.kv_quantization)
        self._encoder = VisionEncoder(model.vision_tower) if _takes_features(model) else None
        super().__init__(key, [[end] for end in ends], prefill_step=prefill_step, cache=cache)
        self.weight_bytes = weight_bytes(model)
        self._model = model
        self._language = model.language_model
        self._vision_text = VisionText(processor, self._text, model.config)
        self._record = record
        self._ready: WeakKeyDictionary[Sequence, VisionPrompt] = WeakKeyDictionary()
        self._has_positions = hasattr(self._language, "get_rope_index")
        self._group = 0
        if record.kv_quantization is not None:
            self._group = quantisation_group(
                make_prompt_cache(self._language),
                lambda cache: self._language(mx.array([[0]]), cache=cache),
            )

    # --- the prompt, on any thread ----------------------------------------------------------------

    def prepare(self, sequence: Sequence) -> list[str]:
        job = sequence.job
        prompts: list[VisionPrompt] = []

        def encode(messages: Items[Message]) -> list[int]:
            prompts[:] = [self._vision_text.encode(messages, job.form, sequence.images)]
            return prompts[0].token_ids

        built = prompt.build(
            job.messages,
            encode,
            context_window=self._record.context_window,
            max_tokens=job.sampling.max_tokens,
            shorten=job.form.truncation == "auto",
        )
        # The search for the fewest messages to drop doesn't always end with its last attempt.
        if prompts[0].token_ids is not built.token_ids:
            encode(built.messages)
        self._ready[sequence] = prompts[0]
        sequence.begin(built.token_ids, self._decoders.of(job, built.token_ids))
        if job.form.json_schema is not None:
            answer = [*sequence.emitted, *sequence.generated]
            sequence.constraint = self._grammars.constraint(
                job.form.json_schema, built.token_ids, answer
            )
        return [
            *prompt.warnings(built, job.messages, sees_images=True),
            *warnings_of(job.form.json_schema),
        ]

    # --- the batch, on the engine's thread --------------------------------------------------------

    def _open(self, sequence: Sequence) -> Row:
        ready = self._ready[sequence]
        answer = [*sequence.emitted, *sequence.generated]
        tokens = [*ready.token_ids, *answer]
        left = min(sequence.tokens_left, self._record.context_window - len(tokens))
        row = Row(sequence, tokens, left, [*ready.key_ids, *answer])
        row.embed = lambda: self._embed(ready, row)
        row.shows_images = bool(ready.hashes)
        return row

    def step(self, others_waiting: bool = False) -> Step:
        if self._encoder is None:
            return super().step(others_waiting)
        self._encoder.poll(others_waiting or not self._waits)
        step = super().step(others_waiting)
        if others_waiting and self._waits:
            step.rest_s = POLL_S
        return step

    def _embed(self, ready: VisionPrompt, row: Row) -> bool:
        """Compute the prompt's embeddings, its images among them, and set how the row feeds them;
        False while the image features are still being computed."""
        unread = self._vision_text.image_token in row.tokens[row.read :]
        if "pixel_values" in ready.arrays and not unread and self._has_positions:
            embedded = self._embed_behind_images(ready, row)
        else:
            features = None
            if "pixel_values" in ready.arrays and unread and self._encoder is not None:
                pixels, grid = ready.arrays["pixel_values"], ready.arrays["image_grid_thw"]
                features = self._encoder.features(ready.hashes, pixels, grid)
                if features is None:
                    return False
            embedded = self._embed_with_images(ready, row, features)
        mx.eval(embedded.embeddings)
        row.offset = embedded.offset
        if embedded.others:
            # Inputs for deeper layers or masks can't be cut into chunks, or begun in the middle.
            row.in_one_piece, row.read, row.cache = True, 0, self._new_cache()
        row.feed = self._feed_of(embedded)
        return True

    def _embed_behind_images(self, ready: VisionPrompt, row: Row) -> _Embedded:
        """Embed a prompt whose images are all in its cached part: only their positions matter."""
        ids, grid = mx.array([row.tokens]), ready.arrays.get("image_grid_thw")
        positions, offset = self._language.get_rope_index(
            ids, None if grid is None else mx.array(grid)
        )
        return _Embedded(ids, self._language.model.embed_tokens(ids), positions, offset)

    def _embed_with_images(
        self, ready: VisionPrompt, row: Row, features: mx.array | None
    ) -> _Embedded:
        """Embed a whole prompt; ``features`` are those of its images if they are computed."""
        ids = mx.array([row.tokens])
        arrays = {name: mx.array(value) for name, value in ready.arrays.items()}
        pixels = arrays.pop("pixel_values", None)
        if features is not None:
            arrays["cached_image_features"] = features
        inputs = self._model.get_input_embeddings(ids, pixels, **arrays).to_dict()
        return _Embedded(
            ids,
            inputs.pop("inputs_embeds"),
            inputs.pop("position_ids"),
            inputs.pop("rope_deltas"),
            {name: value for name, value in inputs.items() if value is not None},
        )

    def _feed_of(self, embedded: _Embedded) -> Feed:
        ids, embeddings, positions = embedded.ids, embedded.embeddings, embedded.positions

        def feed(start: int, stop: int, cache: list[Any]) -> None:
            extra = dict(embedded.others)
            if positions is not None:
                extra["position_ids"] = positions[..., start:stop]
            self._language(
                ids[:, start:stop], inputs_embeds=embeddings[:, start:stop], cache=cache, **extra
            )

        return feed

    def remove(self, sequence: Sequence) -> None:
        if self._encoder is not None and sequence in self._ready:
            self._encoder.cancel(self._ready[sequence].hashes)
        super().remove(sequence)

    def reset(self) -> None:
        super().reset()
        if self._encoder is not None:
            self._encoder.cancel_all()

    def _new_cache(self) -> list[Any]:
        if self._record.kv_quantization is None:
            return list(make_prompt_cache(self._language))
        return quantised_cache(
            len(self._language.layers), self._group, self._record.kv_quantization
        )

    def _forward(self, inputs: mx.array, cache: list[Any], rows: list[Row]) -> mx.array:
        offsets = [row.offset for row in rows if row.offset is not None]
        extra = {"rope_deltas": mx.concatenate(offsets)} if offsets else {}
        output = self._language(inputs[:, None], cache=cache, **extra)
        return (output.logits if hasattr(output, "logits") else output)[:, -1, :]

    def close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
        super().close()


class VlmRoundRobin(RoundRobin, VlmBackend):
    """A vision model whose kind of cache (such as a sliding window) can't be batched here: its
    sequences run round-robin."""


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    ends = getattr(model.config, "eos_token_id", None)
    tokens = set(ends if isinstance(ends, (list, tuple)) else [] if ends is None else [ends])
    if tokenizer.eos_token_id is not None:
        tokens.add(tokenizer.eos_token_id)
    return sorted(int(token) for token in tokens)


def _takes_features(model: Any) -> bool:
    """Whether a model accepts precomputed image features; families differ, and the library has no
    attribute for it."""
    method: Callable[..., Any] = model.get_input_embeddings
    towers = hasattr(model, "vision_tower") and model.config.model_type in (
        "qwen2_vl",
        "qwen2_5_vl",
    )
    return towers and "cached_image_features" in inspect.getsource(method)
