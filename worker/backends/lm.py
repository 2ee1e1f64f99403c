"""Text models through mlx_lm, each in one continuous batch, with a plain or a quantised
key-value cache."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx_lm
from mlx_lm.models.cache import make_prompt_cache

from wire.model_registry import ModelRecord
from worker import prompt
from worker.backends.base import Backend
from worker.backends.batching.backend import BatchBackend
from worker.backends.batching.cache_maker import CacheMaker
from worker.backends.batching.checkpoints import checkpoints
from worker.backends.batching.row import Row
from worker.backends.cpu.scales import widen_scales
from worker.backends.device import on_cpu
from worker.backends.loading import evaluate, load_failed, refuse_code, weight_bytes
from worker.backends.sampling.json_schema import Grammars, warnings_of
from worker.backends.text.decoder import Decoders
from worker.backends.text.prompt_encoder import PromptEncoder
from worker.errors import kept_alive
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence


def open_model(
    record: ModelRecord, *, slots: int, prefill_step: int, cache: PromptCache
) -> Backend:
    """Load a text model. Raises WorkerError ``load_failed`` with the reason."""
    refuse_code(record)
    try:
        # Only safetensors are read, and no code from the model's folder is run.
        with kept_alive():
            model, tokenizer = mlx_lm.load(
                record.path, tokenizer_config={"trust_remote_code": False}
            )
            evaluate(model)
    except Exception as error:
        raise load_failed(error) from error
    if on_cpu():
        widen_scales(model)
    calls = LmModel(model, LmText(tokenizer, record.context_window), record)
    return BatchBackend(calls, record, slots=slots, prefill_step=prefill_step, cache=cache)


class LmText:
    """A model's tokeniser: messages in, token ids out. Thread-safe."""

    def __init__(self, tokenizer: Any, context_window: int) -> None:
        self.tokenizer = tokenizer
        self.context_window = context_window
        self.stop_tokens = frozenset(int(token) for token in tokenizer.eos_token_ids)
        self._grammars = Grammars(tokenizer, sorted(self.stop_tokens))
        self._decoders = Decoders(tokenizer)
        # mlx_lm's wrapper has no public name for what it wraps.
        self.prompts = PromptEncoder(tokenizer, tokenizer._tokenizer)
        self.encode = self.prompts.encode

    def prepare(self, sequence: Sequence, *, finds_checkpoints: bool = False) -> list[str]:
        """As in Backend. ``finds_checkpoints``: the prompt is searched for places where the model's
        cache is worth keeping."""
        job = sequence.job
        built = prompt.build(
            job.messages,
            lambda messages: self.encode(messages, job.form),
            context_window=self.context_window,
            max_tokens=job.sampling.max_tokens,
            shorten=job.form.truncation == "auto",
        )
        sequence.begin(built.token_ids, self._decoders.of(job, built.token_ids))
        if finds_checkpoints and not job.form.raw:
            sequence.checkpoints = checkpoints(
                lambda messages: self.encode(messages, job.form), built.messages, built.token_ids
            )
        if job.form.json_schema is not None:
            answer = [*sequence.emitted, *sequence.generated]
            sequence.constraint = self._grammars.constraint(
                job.form.json_schema, built.token_ids, answer
            )
        return [
            *prompt.warnings(built, job.messages, sees_images=False),
            *warnings_of(job.form.json_schema),
        ]

    def tokens_left(self, sequence: Sequence) -> int:
        """How many more tokens the answer may have, by its own limit and by the context window."""
        return min(sequence.tokens_left, self.context_window - len(sequence.tokens))


class LmModel:
    """A text model as the batch loop runs it."""

    reads_together = True

    def __init__(self, model: Any, text: LmText, record: ModelRecord) -> None:
        self.weight_bytes = weight_bytes(model)
        self.stop_tokens = text.stop_tokens
        self.caches = CacheMaker(lambda: list(make_prompt_cache(model)), record.kv_quantization)
        self._model = model
        self._text = text

    def prepare(self, sequence: Sequence) -> list[str]:
        return self._text.prepare(sequence, finds_checkpoints=self.caches.needs_checkpoints)

    def open(self, sequence: Sequence) -> Row:
        return Row(sequence, sequence.tokens, self._text.tokens_left(sequence))

    def forward(self, ids: mx.array, cache: list[Any]) -> mx.array:
        """Feed [rows, tokens] to the caches of the rows; logits [rows, tokens, vocabulary]."""
        logits: mx.array = self._model(ids, cache=cache)
        return logits

    def decode(self, inputs: mx.array, cache: list[Any], rows: list[Row]) -> mx.array:  # noqa: ARG002
        return self.forward(inputs[:, None], cache)[:, -1, :]

    def poll(self, others_waiting: bool) -> float:  # noqa: ARG002
        return 0.0

    def removed(self, row: Row) -> None:
        """Nothing goes on beside the batch."""

    def reset(self) -> None:
        """Nothing goes on beside the batch."""

    def close(self) -> None:
        """The model's arrays go with this object."""
