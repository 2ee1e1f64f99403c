"""An embedding model without weights, for tests: the vector of a text is a known function of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator
from collections.abc import Sequence as Items

import numpy as np

from wire.messages import ChatJob
from wire.model_registry import ModelRecord
from worker.backends.echo import misbehave
from worker.backends.pooling.folder import PoolingFolder
from worker.backends.pooling.model import Input, Rows
from worker.backends.pooling.texts import compared_texts, pooling_of, texts_of, within_limit

DIMENSIONS = 8
PROMPTS = {"query": "query: ", "document": "document: "}
ECHO_EMBEDDINGS = ModelRecord(
    id="echo-embeddings",
    name="echo-embeddings",
    path="",
    size=0,
    architecture="echo",
    context_window=4096,
    is_vision=False,
    revision="echo",
    tasks=("embed", "rerank"),
    dimensions=DIMENSIONS,
    shorter_dimensions=(),
)
"""What the echo backend serves beside its chat model."""


def vector(text: str) -> list[float]:
    """The vector of a text, of the length 1."""
    digest = hashlib.blake2b(text.encode(), digest_size=2 * DIMENSIONS).digest()
    numbers = np.frombuffer(digest, dtype="<u2").astype(np.float32) - 32_767.5
    return list(map(float, numbers / np.linalg.norm(numbers)))


class EchoPooling:
    """A byte of a text is a token; a pass takes ``delay_s`` seconds."""

    weight_bytes = 0
    normalises = True

    def __init__(self, delay_s: float, context_window: int) -> None:
        self._delay_s = delay_s
        self._folder = PoolingFolder((), None, context_window, DIMENSIONS, (), PROMPTS)

    def inputs(self, job: ChatJob) -> list[Input]:
        rerank = pooling_of(job).task == "rerank"
        texts = compared_texts(job, self._folder) if rerank else texts_of(job, self._folder)
        inputs = [Input(list(text.encode())) for text in texts]
        tails = [0] * len(inputs)
        return within_limit(job, inputs, tails, self._folder.most_tokens, heads=int(rerank))

    def run(self, inputs: Items[Input]) -> Generator[None, None, Rows]:
        texts = [bytes(one.ids).decode(errors="replace") for one in inputs]
        for text in texts:
            misbehave(text)
        time.sleep(self._delay_s)
        yield
        return np.array([vector(text) for text in texts], dtype=np.float32)
