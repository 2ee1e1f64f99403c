"""Text models through mlx_lm, each in one continuous batch, with a plain or a quantised
key-value cache."""

from __future__ import annotations

import copy
from collections.abc import Sequence as Items
from typing import Any

import mlx.core as mx
import mlx_lm
from mlx_lm.models.cache import make_prompt_cache

from wire.messages import PLAIN_TEXT, Message, OutputFormat
from wire.model_registry import ModelRecord
from worker import prompt
from worker.backends.base import Backend, Step, Token
from worker.backends.batching.kv_cache import settle
from worker.backends.batching.mlx_lm_batch import RowBatchGenerator
from worker.backends.batching.row_batch import Row, RowBackend, quantisation_group, quantised_cache
from worker.backends.loading import evaluate, load_failed, refuse_code, weight_bytes
from worker.backends.sampling.json_schema import Grammars, warnings_of
from worker.backends.sampling.logits_processors import logits_processor_of
from worker.backends.sampling.sampler import RowSampler
from worker.backends.text.chat_template import (
    apply_template,
    own_marks,
    template_options,
    template_source,
    texts,
)
from worker.backends.text.control_tokens import ControlTokens
from worker.backends.text.decoder import Decoders
from worker.errors import WorkerError
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence

IDLE_CHUNK = 512
"""Prompt tokens a step when no stream is running: larger chunks are read faster."""


def open_model(
    record: ModelRecord, *, slots: int, prefill_step: int, cache: PromptCache
) -> Backend:
    """Load a text model. Raises WorkerError ``load_failed`` with the reason."""
    refuse_code(record)
    try:
        # Only safetensors are read, and no code from the model's folder is run.
        model, tokenizer = mlx_lm.load(record.path, tokenizer_config={"trust_remote_code": False})
        evaluate(model)
    except Exception as error:
        raise load_failed(error) from error
    if not all(hasattr(layer, "merge") for layer in make_prompt_cache(model)):
        raise WorkerError(
            "load_failed", f"{record.architecture} models keep a cache that can't be batched."
        )
    text = LmText(tokenizer, record.context_window)
    key = (record.id, record.revision, record.kv_quantization)
    if record.kv_quantization is None:
        return LmBackend(model, text, key, slots=slots, prefill_step=prefill_step, cache=cache)
    return QuantisedLmBackend(
        model, text, key, bits=record.kv_quantization, prefill_step=prefill_step, cache=cache
    )


class LmText:
    """A model's tokeniser: messages in, token ids out. Thread-safe."""

    def __init__(self, tokenizer: Any, context_window: int) -> None:
        self.tokenizer = tokenizer
        self.context_window = context_window
        self.stop_tokens = [[int(token)] for token in tokenizer.eos_token_ids]
        self._grammars = Grammars(tokenizer, [ids[0] for ids in self.stop_tokens])
        self._decoders = Decoders(tokenizer)
        # mlx_lm's wrapper has no public name for what it wraps.
        self._controls = ControlTokens(
            tokenizer._tokenizer, template_source(tokenizer), own_marks(tokenizer)
        )

    def encode(self, messages: Items[Message], form: OutputFormat = PLAIN_TEXT) -> list[int]:
        """The tokens of a prompt; in a raw one, control tokens are control tokens."""
        if form.raw:
            return [
                int(i)
                for i in self.tokenizer.encode("".join(message.text() for message in messages))
            ]
        rows, options = texts(messages), {}
        templated = self.tokenizer.has_chat_template
        if templated:
            options = template_options(form, self.tokenizer)
        escaped = self._controls.escaped(rows, options)
        if escaped is not None:
            rows, options = escaped.rows, escaped.options
            text = (
                apply_template(self.tokenizer, rows, options, tokenize=False)
                if templated
                else _plain(rows)
            )
            return self._controls.encode(text, escaped.escape, add_special_tokens=not templated)
        if not templated:
            return [int(i) for i in self.tokenizer.encode(_plain(rows))]
        return [int(i) for i in apply_template(self.tokenizer, rows, options, tokenize=True)]

    def prepare(self, sequence: Sequence) -> list[str]:
        job = sequence.job
        built = prompt.build(
            job.messages,
            lambda messages: self.encode(messages, job.form),
            context_window=self.context_window,
            max_tokens=job.sampling.max_tokens,
            shorten=job.form.truncation == "auto",
        )
        sequence.begin(built.token_ids, self._decoders.of(job, built.token_ids))
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


def _plain(rows: Items[dict[str, Any]]) -> str:
    """A conversation for a model without a chat template."""
    return "".join(f"{row['role']}: {row['content']}\n" for row in rows) + "assistant:"


class LmBackend:
    """A text model whose sequences run in one continuous batch."""

    def __init__(
        self,
        model: Any,
        text: LmText,
        key: Any,
        *,
        slots: int,
        prefill_step: int,
        cache: PromptCache,
    ) -> None:
        self.weight_bytes = weight_bytes(model)
        self._model = model
        self._text = text
        self._key = key
        self._slots = slots
        self._prefill_step = prefill_step
        self._cache = cache
        self._rows: dict[int, Sequence] = {}
        self._caches_rows = True
        self._generator = self._new_generator()

    def prepare(self, sequence: Sequence) -> list[str]:
        return self._text.prepare(sequence)

    def add(self, sequence: Sequence) -> None:
        tokens = sequence.tokens
        max_tokens = self._text.tokens_left(sequence)
        if max_tokens <= 0:
            raise WorkerError(
                "prompt_too_long", "The conversation fills the model's context window."
            )
        cache, cached = self._cache.fetch(self._key, tokens)
        if not sequence.position:
            sequence.cached_tokens = cached
        (uid,) = self._generator.insert(
            [tokens[cached:]],
            max_tokens=[max_tokens],
            caches=[cache],
            all_tokens=[tokens[:cached]],
            samplers=[
                RowSampler.of(
                    sequence.job.sampling, sequence.position, logits_processor_of(sequence)
                )
            ],
        )
        self._rows[uid] = sequence

    def step(self, others_waiting: bool = False) -> Step:
        busy = others_waiting or self._generator.decoding
        self._generator.set_chunk(
            self._prefill_step if busy else IDLE_CHUNK, others_waiting=others_waiting
        )
        prefill, responses = self._generator.next()
        step = Step()
        for row in prefill:
            done, total = row.progress
            sequence = self._rows[row.uid]
            cached = len(sequence.tokens) - total
            step.prefill.append((sequence, cached + done, cached + total))
        for response in responses:
            sequence = self._rows[response.uid]
            if response.finish_reason is not None:
                del self._rows[response.uid]
                if self._caches_rows:
                    self._cache.insert(
                        self._key, response.all_tokens, settle(response.prompt_cache)
                    )
            step.tokens.append(Token(sequence, response.token, response.finish_reason))
        return step

    def remove(self, sequence: Sequence) -> None:
        uid = next((uid for uid, row in self._rows.items() if row is sequence), None)
        if uid is None:
            return
        del self._rows[uid]
        cache, tokens = self._generator.remove([uid], return_prompt_caches=True)[uid]
        if tokens:
            self._cache.insert(self._key, tokens, settle(cache))

    def sequences(self) -> list[Sequence]:
        return list(self._rows.values())

    def prefilling(self) -> list[Sequence]:
        return [sequence for sequence in self._rows.values() if not sequence.generated]

    def reset(self) -> None:
        self._rows.clear()
        self._generator = self._new_generator()

    def batch_lane(self) -> LmBackend:
        second = copy.copy(self)
        second._caches_rows = False
        second._rows = {}
        second._generator = second._new_generator()
        return second

    def close(self) -> None:
        self._cache.forget(self._key)
        self._generator.close()
        mx.clear_cache()

    def _new_generator(self) -> RowBatchGenerator:
        return RowBatchGenerator(
            self._model,
            stop_tokens=self._text.stop_tokens,
            rows=self._slots,
            chunk=self._prefill_step,
            attended=self._caches_rows,
        )


class QuantisedLmBackend(RowBackend):
    """A text model with a quantised key-value cache; its sequences run in one batch.

    The cache is quantised from the first token on, so a prompt that is read in chunks, reused or
    continued after a crash gives the same text; with ``kv_bits`` of mlx_lm's generate_step, a chunk
    of a prompt would attend to itself unquantised.
    """

    def __init__(
        self,
        model: Any,
        text: LmText,
        key: Any,
        *,
        bits: int,
        prefill_step: int,
        cache: PromptCache,
    ) -> None:
        super().__init__(key, text.stop_tokens, prefill_step=prefill_step, cache=cache)
        self.weight_bytes = weight_bytes(model)
        self._model = model
        self._text = text
        self._bits = bits
        self._group = quantisation_group(
            make_prompt_cache(model), lambda cache: model(mx.array([[0]]), cache=cache)
        )

    def prepare(self, sequence: Sequence) -> list[str]:
        return self._text.prepare(sequence)

    def _open(self, sequence: Sequence) -> Row:
        row = Row(sequence, sequence.tokens, self._text.tokens_left(sequence))
        row.feed = lambda start, stop, cache: self._model(
            mx.array([row.tokens[start:stop]]), cache=cache
        )
        return row

    def _new_cache(self) -> list[Any]:
        return quantised_cache(len(self._model.layers), self._group, self._bits)

    def _forward(self, inputs: mx.array, cache: list[Any], rows: list[Row]) -> mx.array:  # noqa: ARG002
        return self._model(inputs[:, None], cache=cache)[:, -1, :]
