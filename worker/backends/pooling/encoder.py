"""Embedding models and cross-encoders through mlx_vlm, and Qwen3-Reranker through mlx_lm."""

from __future__ import annotations

from collections.abc import Callable, Generator
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from mlx_lm.utils import load_model
from mlx_vlm.embedding_loader import load_embedding_model
from mlx_vlm.models.pooling import pool_by_config
from mlx_vlm.reranker_loader import load_sequence_classification_model
from mlx_vlm.utils import load_config

from wire.messages import ChatJob
from wire.model_registry import ModelRecord
from worker.backends.cpu.gelu import quicken_gelu
from worker.backends.cpu.scales import widen_weights
from worker.backends.device import on_cpu
from worker.backends.loading import Report, evaluate, load_failed, refuse_code, weight_bytes
from worker.backends.pooling.backend import PoolingBackend
from worker.backends.pooling.folder import (
    DECODERS,
    PoolingFolder,
    answers_yes,
    model_type_of,
    read_folder,
)
from worker.backends.pooling.layers import LayerPieces
from worker.backends.pooling.model import Input, Rows
from worker.backends.pooling.prompts import RerankerPrompt
from worker.backends.pooling.texts import (
    compared_texts,
    pooling_of,
    texts_of,
    within_limit,
    without_instruction,
)
from worker.backends.pooling.tokens import TextTokenizer
from worker.errors import WorkerError, kept_alive

Json = dict[str, Any]
_MODULES = {"Transformer", "Pooling", "Normalize"}
Encode = Callable[[ChatJob], list[Input]]


def open_model(record: ModelRecord, report: Report = lambda _: None) -> PoolingBackend:
    """Load a model. Raises WorkerError ``load_failed`` with the reason."""
    refuse_code(record)
    path = Path(record.path)
    try:
        with kept_alive():
            config = load_config(path)
            network = _network(record, config, path)
            evaluate(network.model, report)
            inputs = _inputs(record, config, network, path)
    except WorkerError:
        raise
    except Exception as error:
        raise load_failed(error) from error
    if on_cpu():
        widen_weights(network.model)
        quicken_gelu(network.model)
    return PoolingBackend(EncoderModel(network, inputs))


class Batch(NamedTuple):
    """Inputs side by side, [inputs, tokens]: padded at the right, where ``mask`` is 0."""

    ids: mx.array
    mask: mx.array
    types: mx.array
    lengths: mx.array


class Network(NamedTuple):
    """What is loaded: ``rows`` lays a pass out. ``layers`` is the model's list of them."""

    model: Any
    layers: list[Any]
    rows: Callable[[Batch], mx.array]
    folder: PoolingFolder
    pad: int


def _network(record: ModelRecord, config: Json, path: Path) -> Network:
    folder, pad = read_folder(config, path), config.get("pad_token_id")
    pad = pad if isinstance(pad, int) else 0
    if "embed" in record.tasks:
        _refuse_modules(folder, config)
        model = load_embedding_model(path, lazy=True)
        return Network(model, model.layers, _vectors(model, folder, config), folder, pad)
    if answers_yes(config):
        model, _ = load_model(path, lazy=True)
        tokens = TextTokenizer(path)
        yes, no = tokens.id_of("yes"), tokens.id_of("no")
        return Network(model, model.model.layers, _answers(model, yes, no), folder, pad)
    model = load_sequence_classification_model(path, lazy=True, config=config)

    def scores(batch: Batch) -> mx.array:
        told = model(batch.ids, attention_mask=batch.mask, token_type_ids=batch.types)
        return mx.sigmoid(told.logits.astype(mx.float32))

    return Network(model, model.layers, scores, folder, pad)


def _refuse_modules(folder: PoolingFolder, config: Json) -> None:
    """Raises WorkerError for modules that nothing here runs: the vectors would be others."""
    # mlx_vlm has the two dense layers of EmbeddingGemma, which have no activation.
    known = _MODULES | ({"Dense"} if model_type_of(config) == "gemma3_text" else set())
    if others := sorted(set(folder.kinds) - known):
        raise WorkerError(
            "load_failed",
            f"The model's modules.json has {', '.join(others)}, which can't be run here.",
        )


def _vectors(model: Any, folder: PoolingFolder, config: Json) -> Callable[[Batch], mx.array]:
    """How token vectors become texts' vectors: as the folder says, or as mlx_vlm does it."""
    usual = "lasttoken" if model_type_of(config) in DECODERS - {"gemma3_text"} else "mean"
    pooling = folder.pooling or {"pooling_mode": usual}
    pool_by_config(mx.zeros((1, 1, 1)), mx.ones((1, 1)), pooling)  # Raises for an unknown mode.
    dense = getattr(model, "dense", ())

    def vectors(batch: Batch) -> mx.array:
        told = model(batch.ids, attention_mask=batch.mask, token_type_ids=batch.types)
        pooled = pool_by_config(told.last_hidden_state, batch.mask, pooling)
        for layer in dense:
            pooled = layer(pooled)
        return pooled.astype(mx.float32)

    return vectors


def _answers(model: Any, yes: int, no: int) -> Callable[[Batch], mx.array]:
    """The probability that a chat model answers "yes" rather than "no"."""
    inner = model.model

    def scores(batch: Batch) -> mx.array:
        hidden = inner(batch.ids)  # Causal: what pads at the right is seen by nothing before it.
        last = hidden[mx.arange(hidden.shape[0]), batch.lengths - 1]
        head = getattr(model, "lm_head", None)
        logits = inner.embed_tokens.as_linear(last) if head is None else head(last)
        return mx.sigmoid((logits[:, yes] - logits[:, no]).astype(mx.float32))[:, None]

    return scores


def _inputs(record: ModelRecord, config: Json, network: Network, path: Path) -> Encode:
    """How the model gets the texts of a job."""
    tokens, folder, limit = TextTokenizer(path), network.folder, record.context_window
    if "embed" in record.tasks:

        def embedded(job: ChatJob) -> list[Input]:
            rerank = pooling_of(job).task == "rerank"
            texts = compared_texts(job, folder) if rerank else texts_of(job, folder)
            return within_limit(job, *tokens.encode(texts), limit, heads=int(rerank))

        return embedded
    if answers_yes(config):
        return RerankerPrompt(tokens, limit).inputs

    def pairs(job: ChatJob) -> list[Input]:
        query = without_instruction(job).query
        both = [(query, message.text()) for message in job.messages]
        return within_limit(job, *tokens.encode(both), limit)

    return pairs


class EncoderModel:
    """A loaded model as the backend runs it."""

    def __init__(self, network: Network, inputs: Encode) -> None:
        self.weight_bytes = weight_bytes(network.model)
        self.normalises = network.folder.normalises
        self.inputs = inputs
        self._network = network
        self._pieces = LayerPieces(network.layers)

    def run(self, inputs: Items[Input]) -> Generator[None, None, Rows]:
        self._pieces.forget()
        rows = self._network.rows(_side_by_side(inputs, self._network.pad))
        for output in self._pieces.take():
            mx.eval(output)
            yield
        mx.eval(rows)
        return np.array(rows)


def _side_by_side(inputs: Items[Input], pad: int) -> Batch:
    lengths = [len(one.ids) for one in inputs]
    longest = max(lengths)

    def padded(values: list[int], filler: int) -> list[int]:
        return [*values, *([filler] * (longest - len(values)))]

    return Batch(
        mx.array([padded(one.ids, pad) for one in inputs]),
        mx.array([padded([1] * length, 0) for length in lengths]),
        mx.array([padded(one.types or [0] * len(one.ids), 0) for one in inputs]),
        mx.array(lengths),
    )
