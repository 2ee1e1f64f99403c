"""all-MiniLM-L6-v2: its vectors beside those of a calculation in numpy, in 64 bits."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.real.conftest import folder_of
from tests.support.http_client import Service
from tests.support.service_support import SERVE, Running

NAME = "all-minilm-l6-v2-fp32"
TEXTS = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "Ein Mann isst.",
    "Redis keeps the queue, and a worker takes a job from it when a slot is free: that is all there "
    "is to it, whoever asks.",
]
TOKENS = [8, 11, 9, 7, 33]
COSINES = [
    [1.0, 0.75534, -0.10496, 0.02502, -0.02496],
    [0.75534, 1.0, -0.06102, 0.14363, 0.00067],
    [-0.10496, -0.06102, 1.0, -0.05619, 0.0247],
    [0.02502, 0.14363, -0.05619, 1.0, 0.02974],
    [-0.02496, 0.00067, 0.0247, 0.02974, 1.0],
]
FIRST = [
    [0.033242, 0.004406, -0.006277, 0.048379],
    [0.052518, 0.055241, -0.011188, -0.005745],
    [-0.036309, -0.035653, -0.027223, 0.03832],
    [-0.008108, 0.101834, 0.028909, 0.000666],
    [-0.06931, -0.04029, -0.085639, 0.043312],
]
QUERY, SCORES = "Who eats?", [0.41772, 0.38059, 0.00508, 0.05469, 0.11004]


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = folder_of(NAME)
    data = tmp_path_factory.mktemp("d")
    running = Running(SERVE, data, "--models", str(folder), limit_s=900)
    yield Service(running.line("Ready: ").removeprefix("Ready: "))
    running.close()


def post(service: Service, path: str, **body: Any) -> Any:
    status, answer = service.call("POST", path, body)
    assert status == 200, answer
    return answer


def test_vectors_and_cosines_are_those_of_numpy(minilm: Service) -> None:
    answer = post(minilm, "/v1/embeddings", input=TEXTS, encoding_format="base64")
    rows = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in answer["data"]]
    vectors = np.array(rows, dtype=np.float64)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors @ vectors.T == pytest.approx(np.array(COSINES), abs=2e-5)
    assert vectors[:, :4] == pytest.approx(np.array(FIRST), abs=2e-6)
    assert answer["usage"]["prompt_tokens"] == sum(TOKENS)
    # Alone a text has the vector that it has among others.
    alone = post(minilm, "/v1/embeddings", input=TEXTS[4])["data"][0]["embedding"]
    assert vectors[4] == pytest.approx(alone, abs=1e-6)


def test_documents_are_ranked_as_their_cosines_say(minilm: Service) -> None:
    answer = post(minilm, "/v1/rerank", query=QUERY, documents=TEXTS)
    order = sorted(range(len(TEXTS)), key=lambda number: -SCORES[number])
    assert [row["index"] for row in answer["results"]] == order
    scores = [row["relevance_score"] for row in answer["results"]]
    assert scores == pytest.approx([SCORES[number] for number in order], abs=2e-5)


def test_the_folder_says_what_the_model_can(minilm: Service) -> None:
    _, listed = minilm.call("GET", "/v1/models")
    [row] = [row for row in listed["data"] if row["id"] == NAME]
    assert row["capabilities"] == ["embeddings", "rerank"]
    assert row["context_window"] == 256  # sentence-transformers' limit, not BERT's.
    for body, param in (
        ({"input": "word " * 300}, "input[0]"),
        ({"input": "x", "dimensions": 64}, "dimensions"),
    ):
        status, refused = minilm.call("POST", "/v1/embeddings", body)
        assert (status, refused["error"]["param"]) == (400, param)
    chat = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}
    status, refused = minilm.call("POST", "/v1/chat/completions", chat)
    assert (status, refused["error"]["param"]) == (400, "model")
