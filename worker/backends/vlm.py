"""Vision models through mlx_vlm: chats with and without images in one continuous batch.

Prompt caches are keyed by the token ids with each image's hash in place of its tokens, so another
image never gets an old image's answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import mlx.core as mx
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.utils import load_model

from wire.model_registry import ModelRecord
from worker import prompt
from worker.backends.adapters.bank import AdapterBank
from worker.backends.base import Backend
from worker.backends.batching.backend import BatchBackend
from worker.backends.batching.cache_maker import CacheMaker
from worker.backends.batching.checkpoints import checkpoints
from worker.backends.batching.row import Row
from worker.backends.cpu.scales import widen_scales
from worker.backends.device import on_cpu
from worker.backends.loading import (
    Report,
    evaluate,
    load_failed,
    looks_across,
    refuse_code,
    refuse_other_kinds,
    refuse_other_tasks,
    weight_bytes,
)
from worker.backends.prompting.vision import VlmText, open_text
from worker.backends.vision.cross_attention import CrossAttention
from worker.backends.vision.embeddings import PromptEmbedder, forget_positions
from worker.backends.vision.encoder import POLL_S, VisionEncoder
from worker.backends.vision.prompt import VisionPrompt
from worker.backends.vision.repairs import repair
from worker.errors import WorkerError, kept_alive
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence


def open_model(
    record: ModelRecord,
    *,
    slots: int,
    prefill_step: int,
    cache: PromptCache,
    num_draft_tokens: int = 0,
    report: Report = lambda _: None,
) -> Backend:
    """Load a vision model. Raises WorkerError ``load_failed`` with the reason."""
    refuse_code(record)
    refuse_other_kinds(record)
    try:
        # The processors are the library's own; code in a model's folder is not run.
        with kept_alive():
            model = load_model(Path(record.path), lazy=True, trust_remote_code=False)
            evaluate(model, report)
    except Exception as error:
        raise load_failed(error) from error
    refuse_other_tasks(model, record.architecture)
    try:
        with kept_alive():
            text = open_text(record, model.config)
    except Exception as error:
        raise load_failed(error) from error
    if on_cpu():
        widen_scales(model)
    repair(model)
    kind = AcrossModel if looks_across(model.language_model) else VlmModel
    calls = kind(model, text, record)
    return BatchBackend(
        calls,
        record,
        slots=slots,
        prefill_step=prefill_step,
        cache=cache,
        num_draft_tokens=num_draft_tokens,
    )


class VlmModel:
    """A vision model as the batch loop runs it. Each prompt is embedded as a whole, with its
    images, and read by itself."""

    reads_together = False
    adapters: AdapterBank | None = None

    def __init__(self, model: Any, text: VlmText, record: ModelRecord) -> None:
        self._text = text
        self.weight_bytes = weight_bytes(model)
        self._encoder = VisionEncoder(model.vision_tower) if _takes_features(model) else None
        self._language = model.language_model
        self._embedder = PromptEmbedder(model, self._encoder, text.vision.image_token)
        self._record = record
        self._ready: WeakKeyDictionary[Sequence, VisionPrompt] = WeakKeyDictionary()
        self.caches = CacheMaker(self._new_cache, record.kv_quantization)

    def _new_cache(self) -> list[Any]:
        return list(make_prompt_cache(self._language))

    # --- the prompt, on any thread ----------------------------------------------------------------

    def prepare(self, sequence: Sequence) -> list[str]:
        job = sequence.job
        built, self._ready[sequence] = self._text.prompt(job, sequence.images)
        self._text.answers.begin(sequence, built.token_ids)
        if self.caches.needs_checkpoints and not job.form.raw:
            sequence.checkpoints = checkpoints(
                lambda messages: self._text.vision.encode(messages, job.form, {}).token_ids,
                built.messages,
                built.token_ids,
            )
        return [
            *prompt.warnings(built, job.messages, sees_images=self._record.is_vision),
            *self._text.answers.warnings(job.form),
        ]

    # --- the batch, on the engine's thread --------------------------------------------------------

    def cache_key(self, sequence: Sequence) -> Items[int]:
        return self._key_ids(self._ready[sequence])

    def open(self, sequence: Sequence) -> Row:
        if self._embedder.always_whole and sequence.wanted_of_prompt is not None:
            sentence = "This model's prompts are not read from left to right: echo has no logprobs."
            raise WorkerError("unsupported", sentence, param="logprobs")
        ready = self._ready[sequence]
        answer = [*sequence.emitted, *sequence.generated]
        tokens = [*ready.token_ids, *answer]
        left = min(sequence.tokens_left, self._record.context_window - len(tokens))
        row = Row(
            sequence, tokens, left, self._text.answers.special, [*self._key_ids(ready), *answer]
        )
        row.reusable = ready.reusable
        row.embed = lambda: self._embed(ready, row)
        row.shows_images = bool(ready.hashes)
        return row

    def _key_ids(self, ready: VisionPrompt) -> Items[int]:
        """What the cache of a prompt is found by."""
        return ready.key_ids

    def _embed(self, ready: VisionPrompt, row: Row) -> bool:
        """Embed a row's prompt; False while image features are still being computed."""
        embedded = self._embedder.embed(ready, row.tokens, row.read)
        if embedded is None:
            return False
        row.decode_inputs = embedded.decode_inputs
        row.reusable = row.reusable and embedded.reusable
        row.feed = lambda start, stop, cache: _logits(embedded.feed(start, stop, cache))
        if embedded.in_one_piece:
            row.read_in_one_piece(self.caches.new())
        return True

    def forward(self, ids: mx.array, cache: list[Any], rows: Iterable[Row] = ()) -> mx.array:  # noqa: ARG002
        forget_positions(self._language)
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


class AcrossModel(VlmModel):
    """A model whose text looks across at its pictures, which have no tokens of their own."""

    def __init__(self, model: Any, text: VlmText, record: ModelRecord) -> None:
        self._across = CrossAttention(model)
        super().__init__(model, text, record)

    def _new_cache(self) -> list[Any]:
        return self._across.new_cache()

    def _key_ids(self, ready: VisionPrompt) -> Items[int]:
        return self._across.key_ids(ready)

    def _embed(self, ready: VisionPrompt, row: Row) -> bool:
        if ready.hashes:
            assert row.cache is not None, "a row has been looked up before"
            feed = self._across.show(ready, row.tokens, row.cache, row.read)
            row.feed = lambda start, stop, cache: _logits(feed(start, stop, cache))
        return True

    def forward(self, ids: mx.array, cache: list[Any], rows: Iterable[Row] = ()) -> mx.array:  # noqa: ARG002
        return _logits(self._language(ids, cache=cache, **self._across.inputs(cache)))

    def decode(self, inputs: mx.array, cache: list[Any], rows: list[Row]) -> mx.array:  # noqa: ARG002
        return self.forward(inputs[:, None], cache)[:, -1, :]


def _logits(output: Any) -> mx.array:
    logits: mx.array = output.logits if hasattr(output, "logits") else output
    return logits


def _joined(name: str, rows: Items[Row]) -> mx.array:
    """One input of a decode step, of all rows: zeros for those that have none."""
    like = next(row.decode_inputs[name] for row in rows if name in row.decode_inputs)
    return mx.concatenate([row.decode_inputs.get(name, mx.zeros_like(like)) for row in rows])


def _takes_features(model: Any) -> bool:
    """Whether a model accepts precomputed image features; families differ, and the library has no
    attribute for it."""
    method: Callable[..., Any] = model.get_input_embeddings
    towers = hasattr(model, "vision_tower") and model.config.model_type in (
        "qwen2_vl",
        "qwen2_5_vl",
    )
    return towers and "cached_image_features" in inspect.getsource(method)
