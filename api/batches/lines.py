"""One line of an upload: validated like a chat, and turned into a prompt for a worker.

Pure: knows models as records, and neither Redis nor HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from api.chat.request import ChatSpec, WithoutTemplate
from api.errors import ApiError, from_validation
from api.images.draft import first_image, message_of
from api.registry import (
    DEFAULT_MODEL,
    NO_ALIASES,
    ModelAliases,
    names_no_model,
    servable,
    workers_outdated,
)
from wire import model_registry
from wire.batches import BatchLine, LineResult
from wire.messages import ErrorCode
from wire.model_registry import ModelRecord, Task
from wire.versions import VERSION, TooNew, readable

MOST_ID = 255
"""Characters of a custom_id."""
Fields = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class LineParser:
    """How the lines of one upload are read.

    ``defaults`` are fields for lines that don't set them, ``default_model`` is for lines that name
    no model in their ``model_field``. ``read`` makes a line's fields, without its custom_id, into a
    model's name and what is asked of it; it raises ApiError for a line that can't be run.
    ``settle`` makes what is asked for into what a job carries, or raises ApiError. ``version`` is
    what all living workers read, ``without_template`` what becomes of tools that a model's template
    has no place for. ``aliases`` are other names of models.
    """

    models: list[ModelRecord]
    read: Callable[[Fields], tuple[str | None, ChatSpec]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    settle: Callable[[ChatSpec], ChatSpec] = lambda spec: spec
    version: int = VERSION
    default_model: ModelRecord | None = None
    model_field: str = "model_id"
    without_template: WithoutTemplate = "generic"
    aliases: ModelAliases = NO_ALIASES

    def default_for(self, task: Task) -> ModelRecord | None:
        """The model of lines that name none."""
        if task == "chat":
            return self.default_model
        return next((one for one in self.models if one.downloaded and task in one.tasks), None)


class _Refused(Exception):
    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.error: tuple[ErrorCode, str] = (code, message)


def parse_line(raw: bytes, number: int, parser: LineParser) -> BatchLine | LineResult:
    """A line as a prompt, or as a result that says why it can't be run.

    Never echoes what was sent.
    """
    custom_id: str | None = None
    try:
        row = _row(raw)
        custom_id = _custom_id(row)
        return _line(row, number, custom_id, parser)
    except _Refused as refused:
        return LineResult(number, custom_id, error=refused.error)
    except ApiError as refused:
        return LineResult(
            number, custom_id, error=(refused.code, _sentence(refused)), param=refused.param
        )


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
        raise _Refused(
            "invalid_request", f"custom_id: a text of 1 to {MOST_ID} characters is needed."
        )
    return custom_id


def _line(row: Fields, number: int, custom_id: str, parser: LineParser) -> BatchLine:
    requested, spec = parser.read({**parser.defaults, **row})
    requested = parser.aliases.meant(requested, parser.models)
    model = model_registry.find(parser.models, requested or DEFAULT_MODEL)
    if model is None and names_no_model(requested):
        model = parser.default_for(spec.task)
    model = servable(model, parser.model_field, spec.task)
    if (param := first_image(spec.messages)) is not None:
        sentence = "Batch prompts are texts: send prompts with images as chats."
        raise ApiError("invalid_image", sentence, param=param)
    if spec.policy.keep_alive_s is not None:
        sentence = "The lines of a batch don't say how long their model stays in memory."
        raise ApiError("unsupported", sentence, param="keep_alive")
    spec = spec.fitting(model, parser.version, without_template=parser.without_template)
    spec = parser.settle(spec)
    line = BatchLine(
        number=number,
        custom_id=custom_id,
        model_id=model.id,
        model_revision=model.revision,
        messages=tuple(message_of(draft, {}) for draft in spec.messages),
        sampling=spec.sampling,
        form=spec.form,
        warnings=spec.warnings,
        asked=spec.asked,
    )
    try:
        return readable(line, parser.version)
    except TooNew as refused:
        raise workers_outdated(refused.field) from None


def checked(shape: type[M], fields: Fields) -> M:
    """A line's fields as the body that they are. Raises ApiError."""
    try:
        return shape.model_validate(fields)
    except ValidationError as error:
        rows = error.errors(include_input=False, include_url=False)
        raise from_validation(rows, shape, fields) from None


def _sentence(error: ApiError) -> str:
    return "; ".join(error.errors[:3]) or error.message
