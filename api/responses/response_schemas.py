"""Responses for the OpenAPI schema: whole ones and events.

Only described, never validated against: api.responses.answer builds them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from api.openai.response_schemas import HEADERS, ReasoningTokens, TokenLogprob

_PLACE = "#/components/schemas/"
Status = Literal["in_progress", "completed", "incomplete"]


class _Described(BaseModel):
    """What isn't named here isn't sent; what has a default may be missing."""

    model_config = ConfigDict(extra="forbid")


class ResponseText(_Described):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprob]


class ReasoningText(_Described):
    type: Literal["reasoning_text", "summary_text"]
    text: str


class ResponseMessage(_Described):
    id: str
    type: Literal["message"]
    status: Status
    role: Literal["assistant"]
    content: list[ResponseText]


class ResponseReasoning(_Described):
    """The thinking is in ``content``, or in ``summary`` if one was asked for."""

    id: str
    type: Literal["reasoning"]
    status: Status
    summary: list[ReasoningText]
    content: list[ReasoningText] = []
    encrypted_content: str | None = None


class ResponseFunctionCall(_Described):
    id: str
    type: Literal["function_call"]
    status: Status
    call_id: str
    name: str
    namespace: str = ""
    arguments: str


class ResponseCustomToolCall(_Described):
    id: str
    type: Literal["custom_tool_call"]
    status: Status
    call_id: str
    name: str
    namespace: str = ""
    input: str


OutputItem = Annotated[
    ResponseMessage | ResponseReasoning | ResponseFunctionCall | ResponseCustomToolCall,
    Field(discriminator="type"),
]


class InputTokensDetails(_Described):
    cached_tokens: int
    cache_write_tokens: Literal[0]


class ResponseUsage(_Described):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class ResponseError(_Described):
    code: str
    message: str


class IncompleteDetails(_Described):
    reason: Literal["max_output_tokens"]


class Response(_Described):
    """A response as it stands. Times are whole seconds since the epoch.

    ``warnings`` are present when there are any; ``sampling`` is what was used, defaults and seed
    included, but for the stop texts.
    """

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    background: bool
    model: str
    output: list[OutputItem]
    usage: ResponseUsage | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, str | None]
    safety_identifier: str | None
    service_tier: Literal["default", "flex", "priority"]
    store: bool
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    truncation: Literal["auto", "disabled"]
    user: str | None
    sampling: dict[str, Any] = {}
    warnings: list[str] = []


class ResponseEvent(_Described):
    """An event of a stream. ``sequence_number`` grows, with gaps, and is the same each time that
    the response is read."""

    type: str
    sequence_number: int
    response: Response | None = None
    output_index: int = 0
    item: OutputItem | None = None
    item_id: str = ""
    content_index: int = 0
    summary_index: int = 0
    part: ResponseText | ReasoningText | None = None
    delta: str = ""
    text: str = ""
    logprobs: list[TokenLogprob] = []
    arguments: str = ""
    input: str = ""


class InputTokens(BaseModel):
    """What ``/v1/responses/input_tokens`` answers."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


def answers() -> dict[int | str, dict[str, Any]]:
    """The successful answers of the route: JSON, or a stream of events."""
    shape = {"$ref": _PLACE + ResponseEvent.__name__}
    content = {"contentMediaType": "application/json", "contentSchema": shape}
    data = {"type": "string"} | content
    properties = {"event": {"type": "string"}, "data": data}
    event = {"type": "object", "required": ["data"], "properties": properties}
    return {
        200: {
            "model": Response,
            "content": {"text/event-stream": {"schema": event}},
            "headers": HEADERS,
        }
    }


def components() -> dict[str, Any]:
    """The schemas of events, which no route answers with as they are."""
    models: list[tuple[type[BaseModel], Literal["serialization"]]] = [
        (ResponseEvent, "serialization")
    ]
    _, definitions = models_json_schema(models, ref_template=_PLACE + "{model}")
    return dict(definitions["$defs"])
