"""The bodies of the routes for vectors and scores. Every field here is honoured; the tables say
what becomes of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from api.openai import other_fields
from api.pooling.requests import Embedded, Reranked
from api.schemas import whole
from api.serving.fields import ADAPTERS, Harmless, only, unknown, unset
from api.serving.open_body import Open

_OFF = only(False)
REFUSED: dict[str, Harmless] = {
    "keep_alive": unset,
    "max_queue_s": unset,
    "not_before": unset,
    "service_tier": only("auto", "default"),
    **ADAPTERS,
    # vLLM
    "priority": only(0),
    "messages": unset,
    "add_special_tokens": only(True),
    "use_activation": only(True),
    "softmax": only(True),
    "normalize": only(True),
    "embed_dtype": only("float32"),
    "endianness": only("native", "little"),
    "mm_processor_kwargs": unset,
    "cache_salt": unset,
    # Cohere, Jina, Voyage
    "input_type": unset,
    "texts": unset,
    "images": unset,
    "embedding_types": only(["float"]),
    "embedding_type": only("float"),
    "output_dtype": only("float"),
    "output_dimension": unset,
    "late_chunking": _OFF,
    "task": unset,
    "rank_fields": unset,
    "max_chunks_per_doc": unset,
    "max_tokens_per_doc": unset,
    "return_embeddings": _OFF,
}
"""What would change the answer and can't be had, and the values that ask for nothing."""
_SENTENCES = {
    "service_tier": "Send the header X-Service-Tier in place of service_tier.",
    "priority": "Send the header X-Service-Tier in place of priority.",
    "input_type": "Send prompt_name in place of input_type: it names a prompt of the model's.",
    "task": "Send prompt_name in place of task: it names a prompt of the model's.",
    "texts": "Send input in place of texts.",
    "output_dimension": "Send dimensions in place of output_dimension.",
    "max_tokens_per_doc": "Send truncate_prompt_tokens in place of max_tokens_per_doc.",
}
Model = Annotated[str, Field(max_length=255), AfterValidator(whole)]


class _Body(Open):
    model: Model | None = None
    without_effect: ClassVar[frozenset[str]] = other_fields.WITHOUT_EFFECT

    def refuse(self) -> None:
        """Raises ApiError for what can't be had: better than an answer without it."""
        other_fields.refuse(self.others, REFUSED, sentences=_SENTENCES)

    def ignored(self) -> list[str]:
        """The unknown fields, so that they can be named."""
        known: tuple[Mapping[str, Harmless] | frozenset[str], ...] = (REFUSED, self.without_effect)
        return [*unknown(self.others, *known), *self.unknown_below]


class EmbeddingsBody(Embedded, _Body):
    """``POST /v1/embeddings``."""


class RerankBody(Reranked, _Body):
    """``POST /v1/rerank``."""
