"""Lines of native batches that ask for vectors or scores, and their results as clients see them.
Pure."""

from __future__ import annotations

import json
from typing import Any

from api.pooling.requests import Embedded, Reranked
from api.pooling.results import ranked, vectors
from api.schemas import Body, ModelId
from wire.messages import rows_in

_OF_TEXTS = b'"asked":"{'
"""What only the stored results of such lines have: quotes inside of a text are escaped."""


class EmbeddingLine(Embedded, Body):
    """A line with ``input``."""

    model_id: ModelId


class RerankLine(Reranked, Body):
    """A line with ``documents``."""

    model_id: ModelId


def line_shape(row: dict[str, Any]) -> type[EmbeddingLine] | type[RerankLine] | None:
    """What a line is, if it asks for vectors or scores."""
    return EmbeddingLine if "input" in row else RerankLine if "documents" in row else None


def is_of_texts(rows: bytes) -> bool:
    """Whether clients see any of these results otherwise than they are stored."""
    return _OF_TEXTS in rows


def shown(rows: bytes) -> bytes:
    """Results as clients see them, a line each."""
    return b"".join(
        _shown(row) + b"\n" if _OF_TEXTS in row else row + b"\n" for row in rows.splitlines()
    )


def _shown(row: bytes) -> bytes:
    stored = json.loads(row)
    asked, found = stored["asked"], rows_in(stored["text"])
    told = {name: stored[name] for name in ("custom_id", "line", "model_id")}
    if "encoding_format" in json.loads(asked):
        told["embeddings"] = vectors(found, asked)
    else:
        told["results"] = ranked(found, asked)
    told["usage"] = {"prompt_tokens": stored["usage"]["prompt_tokens"]}
    if "warnings" in stored:
        told["warnings"] = stored["warnings"]
    return json.dumps(told, separators=(",", ":")).encode()
