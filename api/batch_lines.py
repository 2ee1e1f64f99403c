"""One line of an upload: judged by the same rules as a chat, and made into a prompt that a worker can run.

Pure: knows models as records, and neither Redis nor HTTP.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from api.errors import ApiError, from_validation
from api.images import Draft
from api.requests import MAX_SEED, ChatRequest
from wire import registry
from wire.batches import BatchLine, LineResult
from wire.messages import ErrorCode, Message, Sampling
from wire.registry import ModelRecord

MOST_ID = 255
"""Characters of a custom_id."""
_ONLY_STREAMED = ("stream_options", "on_disconnect")
Fields = dict[str, Any]
Translate = Callable[[Fields], Fields]


@dataclass(frozen=True, slots=True)
class Rules:
    """How the lines of one upload are read: fields for those that don't set them, and the models that there are.

    ``translate`` turns a line of another API's shape into one of ours; it may raise ApiError.
    """

    models: list[ModelRecord]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    translate: Translate | None = None


class _Refused(Exception):
    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.error: tuple[ErrorCode, str] = (code, message)


def judge(raw: bytes, number: int, rules: Rules) -> BatchLine | LineResult:
    """A line as a prompt, or as the result that says why it can't be run. Never echoes what was sent."""
    custom_id: str | None = None
    try:
        row = _row(raw)
        custom_id = _custom_id(row)
        return _line(row, number, custom_id, rules)
    except _Refused as refused:
        return LineResult(number, custom_id, error=refused.error)
    except ApiError as refused:
        return LineResult(number, custom_id, error=(refused.code, _sentence(refused)))


def _row(raw: bytes) -> Fields:
    try:
        row = from_json(raw, allow_inf_nan=False)
    except ValueError:
        raise _Refused("bad_request", "The line is not valid JSON.") from None
    if not isinstance(row, dict):
        raise _Refused("invalid_request", "The line is not a JSON object.")
    return row


def _custom_id(row: Fields) -> str:
    custom_id = row.pop("custom_id", None)
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MOST_ID:
        raise _Refused("invalid_request", f"custom_id: a text of 1 to {MOST_ID} characters is needed.")
    return custom_id


def _line(row: Fields, number: int, custom_id: str, rules: Rules) -> BatchLine:
    if rules.translate is not None:
        row = rules.translate(row)
    for name in _ONLY_STREAMED:
        if name in row:
            raise _Refused("invalid_request", f"{name}: a batch has no streams.")
    if "prompt" in row:
        if "messages" in row:
            raise _Refused("invalid_request", "prompt: send either a prompt or messages.")
        row["messages"] = [{"role": "user", "content": row.pop("prompt")}]
    try:
        body = ChatRequest.model_validate({**rules.defaults, **row})
    except ValidationError as error:
        raise from_validation(error.errors(include_input=False, include_url=False)) from None
    model = registry.find(rules.models, body.model_id)
    if model is None or not model.downloaded:
        raise _Refused("model_not_found", "No model of this id or name is there.")
    messages = tuple(_message(message.draft()) for message in body.messages)
    return BatchLine(
        number=number,
        custom_id=custom_id,
        model_id=model.id,
        model_revision=model.revision,
        messages=messages,
        sampling=_sampling(body),
    )


def _message(draft: Draft) -> Message:
    texts = [part for part in draft.parts if isinstance(part, str)]
    if len(texts) < len(draft.parts):
        raise _Refused("invalid_image", "Batch prompts are texts: send prompts with images as chats.")
    return Message(role=draft.role, content="".join(texts))


def _sampling(body: ChatRequest) -> Sampling:
    seed = secrets.randbelow(MAX_SEED + 1) if body.seed is None else body.seed
    given = {name: getattr(body, name) for name in Sampling.model_fields if name != "seed" and hasattr(body, name)}
    return Sampling(seed=seed, **given)


def _sentence(error: ApiError) -> str:
    return "; ".join(error.errors[:3]) or error.message
