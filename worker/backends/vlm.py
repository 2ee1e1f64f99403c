"""Vision models through mlx_vlm: chats with and without images in one continuous batch.

Prompt caches are keyed by the token ids with each image's hash in place of its tokens, so another
image never gets an old image's answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import mlx.core as mx
from mlx_lm.utils import load_tokenizer
from mlx_vlm import load
from mlx_vlm.models.cache import make_prompt_cache

from wire.messages import Message
from wire.model_registry import ModelRecord
from worker import prompt
from worker.backends.base import Backend
from worker.backends.batching.backend import BatchBackend
from worker.backends.batching.cache_maker import CacheMaker
from worker.backends.batching.checkpoints import checkpoints
from worker.backends.batching.row import Row
from worker.backends.cpu.scales import widen_scales
from worker.backends.device import on_cpu
from worker.backends.loading import (
    evaluate,
    load_failed,
    refuse_code,
    refuse_other_tasks,
    weight_bytes,
)
from worker.backends.sampling.json_schema import Grammars, warnings_of
from worker.backends.text.decoder import Decoders
from worker.backends.vision.embeddings import PromptEmbedder
from worker.backends.vision.encoder import POLL_S, VisionEncoder
from worker.backends.vision.prompt import VisionPrompt, VisionText
from worker.errors import kept_alive
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence


def open_model(
    record: ModelRecord, *, slots: int, prefill_step: int, cache: PromptCache
) -> Backend:
    """Load a vision model. Raises WorkerError ``load_failed`` with the reason."""
    refuse_code(record)
    try:
        # The processors are the library's own; code in a model's folder is not run.
        with kept_alive():
            model, processor = load(record.path, trust_remote_code=False)
            evaluate(model)
    except Exception as error:
        raise load_failed(error) from error
    refuse_other_tasks(model, record.architecture)
    if on_cpu():
        widen_scales(model)
    calls = VlmModel(model, processor, record)
    return BatchBackend(calls, record, slots=slots, prefill_step=prefill_step, cache=cache)


class VlmModel:
    """A vision model as the batch loop runs it. Each prompt is embedded as a whole, with its
    images, and read by itself."""

    reads_together = False

    def __init__(self, model: Any, processor: Any, record: ModelRecord) -> None:
        # mlx_lm's wrapper creates a streaming detokeniser for each chat; the processor shares one.
        self._text = load_tokenizer(Path(record.path), {"trust_remote_code": False})
        self.stop_tokens = frozenset(_end_tokens(model, processor, self._text))
        self.weight_bytes = weight_bytes(model)
        self._grammars = Grammars(self._text, sorted(self.stop_tokens))
        self._decoders = Decoders(self._text)
        self._encoder = VisionEncoder(model.vision_tower) if _takes_features(model) else None
        self._language = model.language_model
        self._vision_text = VisionText(
            processor, self._text, model.config, sees_images=record.is_vision
        )
        self._embedder = PromptEmbedder(model, self._encoder, self._vision_text.image_token)
        self._record = record
        self._ready: WeakKeyDictionary[Sequence, VisionPrompt] = WeakKeyDictionary()
        self.caches = CacheMaker(
            lambda: list(make_prompt_cache(model.language_model)), record.kv_quantization
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
        self._ready[sequence] = prompts[0]
        sequence.begin(built.token_ids, self._decoders.of(job, built.token_ids))
        if self.caches.needs_checkpoints and not job.form.raw:
            sequence.checkpoints = checkpoints(
                lambda messages: self._vision_text.encode(messages, job.form, {}).token_ids,
                built.messages,
                built.token_ids,
            )
        if job.form.json_schema is not None:
            answer = [*sequence.emitted, *sequence.generated]
            sequence.constraint = self._grammars.constraint(
                job.form.json_schema, built.token_ids, answer
            )
        return [
            *prompt.warnings(built, job.messages, sees_images=self._record.is_vision),
            *warnings_of(job.form.json_schema),
        ]

    # --- the batch, on the engine's thread --------------------------------------------------------

    def open(self, sequence: Sequence) -> Row:
        ready = self._ready[sequence]
        answer = [*sequence.emitted, *sequence.generated]
        tokens = [*ready.token_ids, *answer]
        left = min(sequence.tokens_left, self._record.context_window - len(tokens))
        row = Row(sequence, tokens, left, [*ready.key_ids, *answer])
        row.reusable = ready.reusable
        row.embed = lambda: self._embed(ready, row)
        row.shows_images = bool(ready.hashes)
        return row

    def _embed(self, ready: VisionPrompt, row: Row) -> bool:
        """Embed a row's prompt; False while image features are still being computed."""
        embedded = self._embedder.embed(ready, row.tokens, row.read)
        if embedded is None:
            return False
        row.decode_inputs = embedded.decode_inputs
        row.reusable = row.reusable and embedded.reusable
        row.feed = embedded.feed
        if embedded.in_one_piece:
            row.read_in_one_piece(self.caches.new())
        return True

    def forward(self, ids: mx.array, cache: list[Any]) -> mx.array:
        """Feed [rows, tokens] to the caches of the rows; logits [rows, tokens, vocabulary]."""
        return _logits(self._language(ids, cache=cache))

    def decode(self, inputs: mx.array, cache: list[Any], rows: list[Row]) -> mx.array:
        names = {name for row in rows for name in row.decode_inputs}
        extra = {name: _joined(name, rows) for name in names}
        return _logits(self._language(inputs[:, None], cache=cache, **extra))[:, -1, :]

    def poll(self, others_waiting: bool) -> float:
        if self._encoder is None:
            return 0.0
        self._encoder.poll(others_waiting)
        return POLL_S

    def removed(self, row: Row) -> None:
        if self._encoder is not None:
            self._encoder.cancel(self._ready[row.sequence].hashes)

    def reset(self) -> None:
        if self._encoder is not None:
            self._encoder.cancel_all()

    def close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()


def _logits(output: Any) -> mx.array:
    logits: mx.array = output.logits if hasattr(output, "logits") else output
    return logits


def _joined(name: str, rows: Items[Row]) -> mx.array:
    """One input of a decode step, of all rows: zeros for those that have none."""
    like = next(row.decode_inputs[name] for row in rows if name in row.decode_inputs)
    return mx.concatenate([row.decode_inputs.get(name, mx.zeros_like(like)) for row in rows])


def _end_tokens(model: Any, processor: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the model's, the tokeniser's, and further ones of the
    processor's, such as ``<end_of_utterance>``."""
    ends = getattr(model.config, "eos_token_id", None)
    tokens = set(ends if isinstance(ends, (list, tuple)) else [] if ends is None else [ends])
    if tokenizer.eos_token_id is not None:
        tokens.add(tokenizer.eos_token_id)
    tokens.update(getattr(processor, "additional_eos_token_ids", ()))
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
