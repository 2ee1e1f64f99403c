"""Responses of OpenAI's routes for the OpenAPI schema: chats, completions, chunks, batches.

Only described, never validated against: api.openai.responses builds them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from api.errors import OpenAiErrorBody
from api.openai.schemas import MOST_ANSWERS

_PLACE = "#/components/schemas/"
Index = Annotated[int, Field(ge=0, lt=MOST_ANSWERS)]
"""Of an answer: the number of its prompt times ``n``, and its number among those to the prompt."""


class _Described(BaseModel):
    """What isn't named here isn't sent; what has a default may be missing."""

    model_config = ConfigDict(extra="forbid")


class PromptTokens(_Described):
    cached_tokens: int


class ReasoningTokens(_Described):
    reasoning_tokens: int


class Usage(_Described):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens
    completion_tokens_details: ReasoningTokens


class CalledFunction(_Described):
    name: str
    arguments: str


class CalledTool(_Described):
    id: str
    type: Literal["function"]
    function: CalledFunction


class CalledFunctionDelta(_Described):
    name: str = ""
    arguments: str


class CalledToolDelta(_Described):
    """The first one of a call has its id, type and name; arguments of all of them are joined."""

    index: int
    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunctionDelta


class ChatMessage(_Described):
    """The thinking has two names: ``reasoning`` is vLLM's, ``reasoning_content`` DeepSeek's."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    annotations: Annotated[list[Any], Field(max_length=0)]
    reasoning: str = ""
    reasoning_content: str = ""
    tool_calls: list[CalledTool] = []


class TopLogprob(_Described):
    """One of the likeliest tokens at a position. Bytes that are no whole characters are written
    as ``\\xf0`` in ``token``."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(_Described):
    content: list[TokenLogprob]
    refusal: None


class TextLogprobs(_Described):
    """Lists with an item a token; the first of an echoed prompt has null."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class ChatChoice(_Described):
    index: Index
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]
    stop_reason: str | int | None


class ChatDelta(_Described):
    role: Literal["assistant"] = "assistant"
    content: str = ""
    reasoning: str = ""
    reasoning_content: str = ""
    tool_calls: list[CalledToolDelta] = []


class ChatChunkChoice(_Described):
    index: Index
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"] | None
    stop_reason: str | int | None = None


class TextChoice(_Described):
    index: Index
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    stop_reason: str | int | None = None


class _Answer(_Described):
    """``warnings`` are present when there are any, ``cancelled`` when the chat was stopped.

    ``sampling`` stands beside ``usage``: what was used, defaults and seed included, but for the
    stop texts.
    """

    id: str
    created: int
    model: str
    system_fingerprint: str
    service_tier: Literal["default", "flex", "priority"] = "default"
    warnings: list[str] = []
    cancelled: bool = False
    sampling: dict[str, Any] = {}


class ChatCompletion(_Answer):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage


class ChatCompletionChunk(_Answer):
    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]
    usage: Usage | None = None


class Completion(_Answer):
    """Whole, or a chunk of a stream."""

    object: Literal["text_completion"]
    choices: list[TextChoice]
    usage: Usage | None = None


class RequestCounts(_Described):
    total: int
    completed: int
    failed: int


class BatchFailure(_Described):
    code: str
    message: str
    param: None
    line: int | None


class BatchFailures(_Described):
    object: Literal["list"]
    data: list[BatchFailure]


class CachedTokens(_Described):
    cached_tokens: int


class BatchUsage(_Described):
    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class Batch(_Described):
    """A batch in OpenAI's shape.

    Times are whole seconds since the epoch; null is what hasn't happened.
    """

    id: str
    object: Literal["batch"]
    endpoint: str
    errors: BatchFailures | None
    input_file_id: str
    completion_window: Literal["24h"]
    status: Literal[
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int | None
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage | None
    metadata: dict[str, str] | None


class BatchList(_Described):
    """A page of batches."""

    object: Literal["list"]
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


HEADERS: dict[str, Any] = {
    "X-Job-Id": {
        "description": "The job that answers; of several answers the first's.",
        "schema": {"type": "string"},
    },
    "X-Request-Id": {
        "description": "The same; of a refusal some id.",
        "schema": {"type": "string"},
    },
    "X-Warning": {
        "description": "Warnings known before the answer began.",
        "schema": {"type": "string"},
    },
    "X-Ignored-Fields": {
        "description": "Unknown fields of the request.",
        "schema": {"type": "string"},
    },
    "X-Cancelled": {
        "description": "The chat was stopped; not on streams.",
        "schema": {"type": "string"},
    },
}


def answers(whole: type[BaseModel], chunk: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The successful responses of a route: JSON, or a stream of chunks."""
    shapes = [{"$ref": _PLACE + shape} for shape in (chunk.__name__, OpenAiErrorBody.__name__)]
    content = {"contentMediaType": "application/json", "contentSchema": {"anyOf": shapes}}
    data = {"anyOf": [{"const": "[DONE]"}, {"type": "string"} | content]}
    event = {"type": "object", "required": ["data"], "properties": {"data": data}}
    return {
        200: {
            "model": whole,
            "content": {"text/event-stream": {"schema": event}},
            "headers": HEADERS,
        }
    }


def components() -> dict[str, Any]:
    """The schemas of chunks, which no route answers with as they are."""
    models: list[tuple[type[BaseModel], Literal["serialization"]]] = [
        (ChatCompletionChunk, "serialization")
    ]
    _, definitions = models_json_schema(models, ref_template=_PLACE + "{model}")
    return dict(definitions["$defs"])
