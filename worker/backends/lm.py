"""Text models through mlx_lm: one continuous batch, or one after another when the key-value cache is quantised."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx_lm
from mlx.utils import tree_flatten
from mlx_lm.models.cache import KVCache, QuantizedKVCache, make_prompt_cache

from wire.messages import Message
from wire.registry import ModelRecord
from worker import prompt
from worker.backends.backend import Backend, Step, Token
from worker.backends.batch import RowBatchGenerator
from worker.backends.sampling import RowSampler, sample, window
from worker.backends.text import StreamingDecoder
from worker.errors import WorkerError
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence

IDLE_CHUNK = 512
"""Prompt tokens a step when no stream is running: nobody waits, and larger chunks are read faster."""
QUANTISED_GROUPS = (64, 32)
"""Group sizes of a quantised cache, by preference; one must divide the size of an attention head."""


def open_model(record: ModelRecord, *, slots: int, prefill_step: int, cache: PromptCache) -> Backend:
    """Load a text model. Raises WorkerError ``load_failed`` with the reason."""
    try:
        # Only safetensors are read, and no code from the model's folder is run.
        model, tokenizer = mlx_lm.load(record.path, tokenizer_config={"trust_remote_code": False})
    except Exception as error:
        raise WorkerError("load_failed", f"The model could not be loaded: {reason(error)}.") from error
    text = LmText(tokenizer, record.context_window)
    key = (record.id, record.revision, record.kv_quantization)
    if record.kv_quantization is None:
        return LmBackend(model, text, key, slots=slots, prefill_step=prefill_step, cache=cache)
    return SerialLmBackend(model, text, key, bits=record.kv_quantization, prefill_step=prefill_step, cache=cache)


def reason(error: Exception) -> str:
    """An exception in words that give away no path."""
    words = str(error).split("\n")[0]
    known = [word for word in words.split() if "/" not in word]
    return f"{type(error).__name__}: {' '.join(known)[:160]}"


def weight_bytes(model: Any) -> int:
    return sum(int(array.nbytes) for _, array in tree_flatten(model.parameters()))


class LmText:
    """The tokeniser's side of a model: messages in, token ids out; used from any thread."""

    def __init__(self, tokenizer: Any, context_window: int) -> None:
        self.tokenizer = tokenizer
        self.context_window = context_window
        self.stop_tokens = [[int(token)] for token in tokenizer.eos_token_ids]

    def encode(self, messages: Any) -> list[int]:
        rows = [_plain(message) for message in messages]
        if self.tokenizer.chat_template is None:
            text = "".join(f"{row['role']}: {row['content']}\n" for row in rows) + "assistant:"
            return [int(i) for i in self.tokenizer.encode(text)]
        return [int(i) for i in self.tokenizer.apply_chat_template(rows, add_generation_prompt=True, tokenize=True)]

    def prepare(self, sequence: Sequence) -> list[str]:
        job = sequence.job
        built = prompt.build(
            job.messages, self.encode, context_window=self.context_window, max_tokens=job.sampling.max_tokens
        )
        sequence.begin(built.token_ids, StreamingDecoder(self.tokenizer, job.sampling.stop))
        return prompt.warnings(built, job.messages, sees_images=False)

    def tokens_left(self, sequence: Sequence) -> int:
        """How many more tokens the answer may have: its own limit, and what is left of the context window."""
        return min(sequence.tokens_left, self.context_window - len(sequence.tokens))


def _plain(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.text()}


class LmBackend:
    """A model whose chats run in one continuous batch."""

    def __init__(
        self, model: Any, text: LmText, key: Any, *, slots: int, prefill_step: int, cache: PromptCache
    ) -> None:
        self.weight_bytes = weight_bytes(model)
        self._model = model
        self._text = text
        self._key = key
        self._slots = slots
        self._prefill_step = prefill_step
        self._cache = cache
        self._rows: dict[int, Sequence] = {}
        self._generator = self._new_generator()

    def prepare(self, sequence: Sequence) -> list[str]:
        return self._text.prepare(sequence)

    def add(self, sequence: Sequence) -> None:
        tokens = sequence.tokens
        most = self._text.tokens_left(sequence)
        if most <= 0:
            raise WorkerError("prompt_too_long", "The conversation fills the model's context window.")
        cache, known = self._cache.fetch(self._key, tokens)
        if not sequence.position:
            sequence.cached_tokens = known
        (uid,) = self._generator.insert(
            [tokens[known:]],
            max_tokens=[most],
            caches=[cache],
            all_tokens=[tokens[:known]],
            samplers=[RowSampler.of(sequence.job.sampling, sequence.position)],
        )
        self._rows[uid] = sequence

    def step(self) -> Step:
        self._generator.set_chunk(self._prefill_step if self._generator.decoding else IDLE_CHUNK)
        reading, answers = self._generator.next()
        step = Step()
        for row in reading:
            done, total = row.progress
            sequence = self._rows[row.uid]
            known = len(sequence.tokens) - total
            step.prefill.append((sequence, known + done, known + total))
        for answer in answers:
            sequence = self._rows[answer.uid]
            if answer.finish_reason is not None:
                del self._rows[answer.uid]
                self._cache.insert(self._key, answer.all_tokens, answer.prompt_cache)
            step.tokens.append(Token(sequence, answer.token, answer.finish_reason))
        return step

    def remove(self, sequence: Sequence) -> None:
        uid = next((uid for uid, row in self._rows.items() if row is sequence), None)
        if uid is None:
            return
        del self._rows[uid]
        cache, tokens = self._generator.remove([uid], return_prompt_caches=True)[uid]
        if tokens:
            self._cache.insert(self._key, tokens, cache)

    def sequences(self) -> list[Sequence]:
        return list(self._rows.values())

    def prefilling(self) -> list[Sequence]:
        return [sequence for sequence in self._rows.values() if not sequence.generated]

    def reset(self) -> None:
        self._rows.clear()
        self._generator = self._new_generator()

    def close(self) -> None:
        self._cache.forget(self._key)
        self._generator.close()
        mx.clear_cache()

    def _new_generator(self) -> RowBatchGenerator:
        return RowBatchGenerator(
            self._model, stop_tokens=self._text.stop_tokens, rows=self._slots, chunk=self._prefill_step
        )


class SerialLmBackend:
    """A model with a quantised key-value cache, which the library can't batch: its chats take turns, a token each.

    The cache is quantised from the first token on, so a prompt read in pieces, reused or continued after a crash gives
    the same text; ``kv_bits`` of mlx_lm's generate_step would attend to a prompt's own chunk unquantised.
    """

    def __init__(self, model: Any, text: LmText, key: Any, *, bits: int, prefill_step: int, cache: PromptCache) -> None:
        self.weight_bytes = weight_bytes(model)
        self._model = model
        self._text = text
        self._key = key
        self._bits = bits
        self._prefill_step = prefill_step
        self._cache = cache
        self._rows: dict[Sequence, _SerialRow] = {}
        self._group = self._group_size()

    def prepare(self, sequence: Sequence) -> list[str]:
        return self._text.prepare(sequence)

    def add(self, sequence: Sequence) -> None:
        tokens = sequence.tokens
        most = self._text.tokens_left(sequence)
        if most <= 0:
            raise WorkerError("prompt_too_long", "The conversation fills the model's context window.")
        cache, known = self._cache.fetch(self._key, tokens)
        if not sequence.position:
            sequence.cached_tokens = known
        self._rows[sequence] = _SerialRow(
            tokens, known, most, cache or self._new_cache(), RowSampler.of(sequence.job.sampling, sequence.position)
        )

    def step(self) -> Step:
        step = Step()
        read = False
        for sequence, row in list(self._rows.items()):
            if row.unread > 1:
                # One chunk a step in all: the others' next tokens come before the next one.
                if not read:
                    row.read(self._model, self._prefill_step)
                    step.prefill.append((sequence, row.known, len(row.tokens)))
                read = True
                continue
            step.tokens.append(self._decode(sequence, row))
        return step

    def _decode(self, sequence: Sequence, row: _SerialRow) -> Token:
        token = row.decode(self._model)
        end: Any = "stop" if [token] in self._text.stop_tokens else "length" if row.left == 0 else None
        if end is not None:
            self.remove(sequence)
        return Token(sequence, token, end)

    def remove(self, sequence: Sequence) -> None:
        row = self._rows.pop(sequence, None)
        if row is not None and row.known:
            self._cache.insert(self._key, row.tokens[: row.known], row.cache)

    def sequences(self) -> list[Sequence]:
        return list(self._rows)

    def prefilling(self) -> list[Sequence]:
        return [sequence for sequence in self._rows if not sequence.generated]

    def reset(self) -> None:
        self._rows.clear()

    def close(self) -> None:
        self._cache.forget(self._key)
        mx.clear_cache()

    def _new_cache(self) -> list[Any]:
        return [QuantizedKVCache(group_size=self._group, bits=self._bits) for _ in make_prompt_cache(self._model)]

    def _group_size(self) -> int:
        """The cache's group size. Raises WorkerError if this architecture's cache can't be quantised."""
        layers = make_prompt_cache(self._model)
        if any(type(layer) is not KVCache for layer in layers):
            raise WorkerError("load_failed", "This architecture's key-value cache can't be quantised.")
        self._model(mx.array([[0]]), cache=layers)
        sizes = {size for layer in layers for size in (layer.keys.shape[-1], layer.values.shape[-1])}
        for group in QUANTISED_GROUPS:
            if all(size % group == 0 for size in sizes):
                return group
        raise WorkerError(
            "load_failed", f"The key-value cache can't be quantised: no group of {QUANTISED_GROUPS} divides {sizes}."
        )


class _SerialRow:
    """One chat that takes turns: its tokens, how many of them its cache holds, and its sampler."""

    def __init__(self, tokens: list[int], known: int, left: int, cache: list[Any], sampler: RowSampler) -> None:
        self.tokens = tokens
        self.known = known
        self.left = left
        self.cache = cache
        self._sampler = sampler

    @property
    def unread(self) -> int:
        return len(self.tokens) - self.known

    def read(self, model: Any, chunk: int) -> None:
        """Feed one chunk of the prompt; its last token is left for the first decode step."""
        size = min(chunk, self.unread - 1)
        model(mx.array([self.tokens[self.known : self.known + size]]), cache=self.cache)
        mx.eval([layer.state for layer in self.cache])
        self.known += size

    def decode(self, model: Any) -> int:
        logits = model(mx.array([self.tokens[-1:]]), cache=self.cache)[:, -1, :]
        self.known += 1
        recent = None
        if self._sampler.penalty != 1.0:
            last = self.tokens[-1]
            recent = mx.array([[last if token < 0 else token for token in window(self.tokens)]])
        token = int(sample(logits, [self._sampler], recent).item())
        self.tokens.append(token)
        self.left -= 1
        return token
