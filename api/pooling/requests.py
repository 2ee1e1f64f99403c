"""Requests for vectors and scores: fields that the APIs have alike, and the job that they become.

Knows no models and no queue.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, FailFast, Field, PlainValidator

from api.chat.request import ChatSpec
from api.errors import ApiError
from api.images.draft import DraftMessage
from api.jobs.policy import Policy
from api.schemas import INTEGRAL, Lenient, Text, whole
from wire.messages import OutputFormat, Pooling, Sampling

MOST_TEXTS = 2048
MOST_TOKENS = 1 << 20
TOKEN_IDS = (
    "Token ids are not taken, since which text they stand for depends on the client's tokeniser: "
    "send texts. LangChain's OpenAIEmbeddings does with check_embedding_ctx_length=False."
)
Encoding = Literal["float", "base64"]
Dimensions = Annotated[int, Field(ge=1, le=1 << 16), INTEGRAL]
MostTokens = Annotated[int, Field(ge=-1, le=MOST_TOKENS), INTEGRAL]
_Text = Annotated[Text, Field(min_length=1)]
_Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_Sent = (
    _Text
    | Annotated[list[_Text], Field(min_length=1, max_length=MOST_TEXTS)]
    | _Ids
    | Annotated[list[_Ids], Field(min_length=1, max_length=MOST_TEXTS)]
)


def _read(sent: Any) -> tuple[str, ...] | None:
    """The texts of an input; None for token ids, so that they are refused in words of their own."""
    texts = [sent] if isinstance(sent, str) else sent
    if not isinstance(texts, list) or not texts:
        raise ValueError("it is a text, or a list of texts")
    if type(texts[0]) in (int, list):
        return None
    if len(texts) > MOST_TEXTS:
        raise ValueError(f"a request has {MOST_TEXTS} texts at most")
    if any(type(text) is not str for text in texts):
        raise ValueError("it is a text, or a list of texts")
    if "" in texts:
        raise ValueError("a text must not be empty")
    return tuple(map(whole, texts))


Inputs = Annotated[tuple[str, ...] | None, PlainValidator(_read, json_schema_input_type=_Sent)]


class Cut(BaseModel):
    """What becomes of texts that are too long: refused, unless one of these fields is set.

    ``truncate`` cuts them at the model's limit, ``truncate_prompt_tokens`` at so many tokens;
    -1 is the model's limit, too.
    """

    truncate: bool | None = None
    truncate_prompt_tokens: MostTokens | None = None

    def form(self, pooling: Pooling) -> OutputFormat:
        """The form of the answer. Raises ApiError for a limit of 0 tokens."""
        most = self.truncate_prompt_tokens
        if most == 0:
            sentence = "A text can't be cut to nothing: send at least 1, or -1."
            raise ApiError("invalid_request", sentence, param="truncate_prompt_tokens")
        cuts = bool(self.truncate) or most is not None
        limited = pooling.model_copy(update={"most_tokens": None if most == -1 else most})
        return OutputFormat(raw=True, truncation="auto" if cuts else "disabled", pooling=limited)


class Embedded(Cut):
    """Texts whose vectors are asked for."""

    input: Inputs
    encoding_format: Encoding | None = None
    dimensions: Dimensions | None = None
    prompt_name: Text | None = None

    def spec(self) -> ChatSpec:
        """What the job is asked. Raises ApiError for token ids."""
        if self.input is None:
            raise ApiError("unsupported", TOKEN_IDS, param="input")
        asked = Pooling(task="embed", dimensions=self.dimensions, prompt_name=self.prompt_name)
        told = {"encoding_format": self.encoding_format or "float"}
        return _spec(self.input, self.form(asked), told)


class Document(Lenient):
    """A document as Cohere's clients send it."""

    text: _Text


Documents = Annotated[list[_Text | Document], Field(min_length=1, max_length=MOST_TEXTS)]


class Reranked(Cut):
    """Documents that are ranked by how well they fit a query."""

    query: _Text
    documents: Annotated[Documents, FailFast()]
    top_n: Annotated[int, Field(ge=1), INTEGRAL] | None = None
    return_documents: bool | None = None
    instruction: Text | None = None

    def spec(self) -> ChatSpec:
        """What the job is asked."""
        texts = [one if isinstance(one, str) else one.text for one in self.documents]
        asked = Pooling(task="rerank", query=self.query, instruction=self.instruction)
        told = {"top_n": self.top_n, "documents": texts if self.return_documents else None}
        return _spec(texts, self.form(asked), told)


def _spec(texts: Sequence[str], form: OutputFormat, told: dict[str, Any]) -> ChatSpec:
    """``told`` is what the answer needs to know of the request."""
    return ChatSpec(
        [DraftMessage("user", (text,)) for text in texts],
        Sampling(seed=0, max_tokens=len(texts)),
        Policy("cancel"),
        form,
        asked=json.dumps(told),
    )
