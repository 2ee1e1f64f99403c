"""Answers of the routes for vectors and scores. Pure: events in, JSON out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from api.pooling.results import ranked, rows_of, vectors
from api.serving.reading import OF_THE_PROMPT
from wire.messages import ErrorCode, Event, Finished, Usage

Json = dict[str, Any]


class PoolingAnswer(ABC):
    """One answer. ``created`` is in seconds since the epoch, ``asked`` what the request's spec
    tells of it."""

    prompt_field: str
    """The request's field that is at fault when a text is."""

    def __init__(self, job_id: str, created: int, model: str, asked: str) -> None:
        self._job_id, self._created, self._model = job_id, created, model
        self._asked = asked

    @classmethod
    def param_of(cls, code: ErrorCode) -> str | None:
        """The field that a job's bad end is the fault of."""
        return cls.prompt_field if code in OF_THE_PROMPT else None

    @abstractmethod
    def whole(self, events: Sequence[Event], end: Finished) -> Json:
        """The answer."""


class EmbeddingsAnswer(PoolingAnswer):
    """Vectors, in OpenAI's shape."""

    prompt_field = "input"

    def whole(self, events: Sequence[Event], end: Finished) -> Json:
        data = [
            {"object": "embedding", "index": number, "embedding": vector}
            for number, vector in enumerate(vectors(rows_of(events), self._asked))
        ]
        return {
            "id": f"embd-{self._job_id}",
            "object": "list",
            "created": self._created,
            "model": self._model,
            "data": data,
            "usage": _usage(end.usage),
        }


class RerankAnswer(PoolingAnswer):
    """Ranked documents, in the shape of vLLM, Cohere and Jina."""

    prompt_field = "documents"

    def whole(self, events: Sequence[Event], end: Finished) -> Json:
        return {
            "id": f"rerank-{self._job_id}",
            "model": self._model,
            "results": ranked(rows_of(events), self._asked),
            "usage": _usage(end.usage),
        }


def _usage(usage: Usage) -> Json:
    return {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
