"""What the routes for vectors and scores answer with, for the API's description."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from api.openai.response_schemas import HEADERS


class _Described(BaseModel):
    """What isn't named here isn't sent; what has a default may be missing."""

    model_config = ConfigDict(extra="forbid")


class TextUsage(_Described):
    prompt_tokens: int
    total_tokens: int


class Embedding(_Described):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Embeddings(_Described):
    """The vectors of the texts, in their order."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Embedding]
    usage: TextUsage


class RankedText(_Described):
    text: str


class RankedDocument(_Described):
    index: int
    relevance_score: float
    document: RankedText = RankedText(text="")


class Ranking(_Described):
    """The documents, the best first."""

    id: str
    model: str
    results: list[RankedDocument]
    usage: TextUsage


def answered_with(shape: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The successful response of a route."""
    return {200: {"model": shape, "headers": HEADERS}}
