"""Text models through mlx_lm, each in one continuous batch, with a plain or a quantised
key-value cache."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

from wire.model_registry import ModelRecord
from worker.backends.adapters.bank import AdapterBank
from worker.backends.base import Backend
from worker.backends.batching.backend import BatchBackend
from worker.backends.batching.cache_maker import CacheMaker
from worker.backends.batching.row import Row
from worker.backends.cpu.scales import widen_scales
from worker.backends.device import on_cpu
from worker.backends.draft_model.draft_model import LoadedDraftModel
from worker.backends.loading import Report, evaluate, load_failed, refuse_code, weight_bytes
from worker.backends.prompting.text import LmText, open_text
from worker.errors import WorkerError, kept_alive
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence

DRAFT_MODEL_TOKENS = 3
"""How many tokens a draft model guesses at most where ``num_draft_tokens`` doesn't say: mlx_lm's
default."""


def open_model(
    record: ModelRecord,
    *,
    slots: int,
    prefill_step: int,
    cache: PromptCache,
    num_draft_tokens: int = 0,
    draft: ModelRecord | None = None,
    report: Report = lambda _: None,
) -> Backend:
    """Load a text model, and with ``draft`` a draft model beside it. Raises WorkerError
    ``load_failed`` with the reason."""
    share = 1.0 if draft is None else record.size / max(1, record.size + draft.size)
    model = _opened(record, lambda done: report(share * done))
    draft_model = None
    if draft is not None:
        # Its cache is not quantised, however it is loaded for chats of its own.
        plain = draft.model_copy(update={"kv_quantization": None})
        drafting = _opened(plain, lambda done: report(share + (1 - share) * done))
        _check_vocabulary(model, record, drafting, draft)
        draft_model = LoadedDraftModel(
            drafting,
            draft,
            record.id,
            most=num_draft_tokens or DRAFT_MODEL_TOKENS,
            chunk=prefill_step,
            cache=cache,
        )
    return BatchBackend(
        model,
        record,
        slots=slots,
        prefill_step=prefill_step,
        cache=cache,
        num_draft_tokens=num_draft_tokens,
        draft_model=draft_model,
    )


def _opened(record: ModelRecord, report: Report) -> LmModel:
    refuse_code(record)
    try:
        # Only safetensors are read, and no code from the model's folder is run.
        with kept_alive():
            model, _ = load_model(Path(record.path), lazy=True)
            evaluate(model, report)
            text = open_text(record)
    except Exception as error:
        raise load_failed(error) from error
    if on_cpu():
        widen_scales(model)
    return LmModel(model, text, record)


def _check_vocabulary(
    model: LmModel, record: ModelRecord, drafting: LmModel, draft: ModelRecord
) -> None:
    """Raises WorkerError for a draft model whose tokens are other texts: none of its guesses would
    mean anything."""
    if model.vocabulary != drafting.vocabulary:
        raise WorkerError(
            "load_failed",
            f"{draft.name} can't be the draft model of {record.name}: it has another vocabulary.",
            param="draft_model",
        )


class LmModel:
    """A text model as the batch loop runs it."""

    reads_together = True

    def __init__(self, model: Any, text: LmText, record: ModelRecord) -> None:
        self.weight_bytes = weight_bytes(model)
        self.caches = CacheMaker(lambda: list(make_prompt_cache(model)), record.kv_quantization)
        self.adapters = AdapterBank(model, lambda ids: model(ids, cache=self.caches.new()))
        self._id = record.id
        self._model = model
        self._text = text

    @property
    def vocabulary(self) -> dict[str, int]:
        """The ids of its tokens."""
        return dict(self._text.tokenizer.get_vocab())

    def prepare(self, sequence: Sequence) -> list[str]:
        return self._text.prepare(sequence, finds_checkpoints=self.caches.needs_checkpoints)

    def cache_key(self, sequence: Sequence) -> Items[int]:
        adapter = sequence.job.model_id
        if adapter == self._id:
            return sequence.prompt_ids
        return self.adapters.key_ids(adapter, sequence.prompt_ids)

    def open(self, sequence: Sequence) -> Row:
        left, special = self._text.tokens_left(sequence), self._text.answers.special
        tokens, adapter = sequence.tokens, sequence.job.model_id
        if adapter == self._id:
            return Row(sequence, tokens, left, special)
        key_ids = self.adapters.key_ids(adapter, tokens)
        return Row(sequence, tokens, left, special, key_ids, adapter)

    def forward(self, ids: mx.array, cache: list[Any], rows: Iterable[Row] = ()) -> mx.array:
        self.adapters.rows.set(row.adapter for row in rows)
        logits: mx.array = self._model(ids, cache=cache)
        return logits

    def decode(self, inputs: mx.array, cache: list[Any], rows: list[Row]) -> mx.array:
        return self.forward(inputs[:, None], cache, rows)[:, -1, :]

    def poll(self, others_waiting: bool) -> float:  # noqa: ARG002
        return 0.0

    def removed(self, row: Row) -> None:
        """Nothing goes on beside the batch."""

    def reset(self) -> None:
        """Nothing goes on beside the batch."""

    def close(self) -> None:
        """The model's arrays go with this object."""
