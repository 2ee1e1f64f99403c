"""Embedding models and rerankers of every kind that mlx_vlm and mlx_lm run, beside the library."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.utils import load_model
from mlx_vlm.embedding_loader import load_embedding_model
from mlx_vlm.reranker_loader import load_sequence_classification_model

from tests.mlx.pooling.pooling_folders import EMBEDS, RANKS, folder_of
from wire.messages import ChatJob, Message, OutputFormat, Pooling, Sampling, rows_in
from worker.backends.pooling import encoder
from worker.backends.pooling.backend import PoolingBackend
from worker.backends.pooling.prompts import RerankerPrompt
from worker.backends.pooling.tokens import TextTokenizer
from worker.errors import WorkerError
from worker.models.folders import describe
from worker.sequence import Sequence

PARTS_OF_A_BERT_LAYER = 6 + 1 + 2 + 1
"""Products, an activation, norms, and the layer itself."""
TEXTS = ["def f(x):", "import os", "a much longer line of text than the others, with more words"]


def opened(folder: Path) -> PoolingBackend:
    record = describe(folder)
    assert record is not None
    return encoder.open_model(record)


def job(texts: list[str], *, cuts: bool = False, **pooling: Any) -> ChatJob:
    return ChatJob(
        job_id=str(texts),
        owner="",
        model_id="",
        model_revision="",
        messages=tuple(Message(role="user", content=text) for text in texts),
        sampling=Sampling(seed=0, max_tokens=len(texts)),
        form=OutputFormat(
            truncation="auto" if cuts else "disabled", pooling=Pooling.model_validate(pooling)
        ),
        submitted_ms=0,
    )


def rows(backend: PoolingBackend, *jobs: ChatJob) -> list[np.ndarray]:
    """The rows of the jobs, run at the same time."""
    sequences = [Sequence(one) for one in jobs]
    for sequence in sequences:
        backend.prepare(sequence)
        backend.add(sequence)
    written = dict.fromkeys(sequences, "")
    while backend.sequences():
        for token in backend.step().tokens:
            for event in token.sequence.accept(token.token_id):
                written[token.sequence] += event.text
    found = [rows_in(written[sequence]) for sequence in sequences]
    return [np.array([np.frombuffer(base64.b64decode(row), "<f4") for row in one]) for one in found]


@pytest.mark.parametrize("kind", EMBEDS)
def test_vectors_are_the_librarys_alone_and_in_company(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path)
    backend = opened(folder)
    [together] = rows(backend, job(TEXTS, task="embed"))
    alone = [rows(backend, job([text], task="embed"))[0][0] for text in TEXTS]
    assert together == pytest.approx(np.array(alone), abs=1e-5)

    model, tokens = load_embedding_model(folder), TextTokenizer(folder)
    for vector, one in zip(alone, tokens.encode(TEXTS)[0], strict=True):
        ids = mx.array([one.ids])
        told = model(ids, attention_mask=mx.ones(ids.shape))
        assert vector == pytest.approx(np.array(told.text_embeds)[0], abs=1e-5)
    # Not all the same: a mask that hid the texts would make them so.
    assert abs(together[0] @ together[1]) < 0.999


def test_a_decoder_without_modules_is_an_embedding_model_by_its_card(tmp_path: Path) -> None:
    named = folder_of("qwen3-embedding", tmp_path)
    by_card = named.with_name("notes")
    shutil.copytree(named, by_card)
    assert describe(by_card).tasks == ("chat",)  # type: ignore[union-attr]
    (by_card / "README.md").write_text("---\npipeline_tag: sentence-similarity\n---\n")
    [vectors] = rows(opened(by_card), job(TEXTS, task="embed"))
    [expected] = rows(opened(named), job(TEXTS, task="embed"))
    assert vectors == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", RANKS)
def test_scores_are_the_librarys_alone_and_in_company(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path)
    backend = opened(folder)
    asked = {"task": "rerank", "query": "what is os?"}
    [together] = rows(backend, job(TEXTS, **asked))
    alone = [rows(backend, job([text], **asked))[0][0] for text in TEXTS]
    assert together == pytest.approx(np.array(alone), abs=1e-5)
    assert together[:, 0] == pytest.approx(expected(folder, TEXTS, asked["query"]), abs=1e-5)
    assert len(set(together[:, 0].tolist())) == len(TEXTS)


def expected(folder: Path, texts: list[str], query: str) -> list[float]:
    tokens = TextTokenizer(folder)
    if folder.name == "qwen3-reranker":
        model, _ = load_model(folder)
        prompt = RerankerPrompt(tokens, 4096)
        inputs = prompt.inputs(job(texts, task="rerank", query=query))
        ends = [np.array(model(mx.array([one.ids])))[0, -1] for one in inputs]
        yes, no = tokens.id_of("yes"), tokens.id_of("no")
        return [float(1 / (1 + np.exp(logits[no] - logits[yes]))) for logits in ends]
    scorer = load_sequence_classification_model(folder)
    inputs, _ = tokens.encode([(query, text) for text in texts])
    logits = [
        scorer(mx.array([one.ids]), token_type_ids=mx.array([one.types])).logits for one in inputs
    ]
    return [float(mx.sigmoid(one)[0, 0]) for one in logits]


def test_an_embedding_model_ranks_by_cosine_and_cuts_what_may_be_cut(tmp_path: Path) -> None:
    backend = opened(folder_of("bert", tmp_path))
    [vectors] = rows(backend, job(["q", *TEXTS], task="embed"))
    [scores] = rows(backend, job(TEXTS, task="rerank", query="q"))
    assert scores[:, 0] == pytest.approx(vectors[1:] @ vectors[0], abs=1e-5)

    [short] = rows(backend, job(TEXTS, task="embed", dimensions=4))
    head = vectors[1:, :4]
    assert short == pytest.approx(head / np.linalg.norm(head, axis=1, keepdims=True), abs=1e-5)

    long = "word " * 200
    with pytest.raises(WorkerError, match="maximum context length is 80") as caught:
        rows(backend, job(["fits", long], task="embed"))
    assert (caught.value.code, caught.value.param) == ("prompt_too_long", "input[1]")
    [cut] = rows(backend, job([long], task="embed", cuts=True))
    assert cut.shape == (1, 32)


def test_a_pass_is_cut_within_layers_on_a_cpu(tmp_path: Path) -> None:
    backend = opened(folder_of("bert", tmp_path))
    model: Any = backend._model
    [one] = model.inputs(job(["a text"], task="embed"))
    layers = model._network.layers
    assert len(list(model.run([one]))) == len(layers) * PARTS_OF_A_BERT_LAYER


def test_what_cant_be_run_is_refused_at_the_load(tmp_path: Path) -> None:
    folder = folder_of("bert", tmp_path)
    modules = '[{"type": "st.models.Transformer", "path": ""}, {"type": "st.LSTM", "path": "1"}]'
    (folder / "modules.json").write_text(modules)
    with pytest.raises(WorkerError, match=r"modules\.json has LSTM"):
        opened(folder)
    (folder / "modules.json").unlink()
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode": "weightedmean"}')
    with pytest.raises(WorkerError, match="weightedmean"):
        opened(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "1_Pooling/config.json").unlink()
    with pytest.raises(WorkerError, match=r"no tokenizer\.json"):
        opened(folder)
