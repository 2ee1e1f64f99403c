"""The batch routes of the native API: thousands of prompts in one call, progress, results.

Knows requests and responses; api.batches.intake does the work.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ConfigDict, Field
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from api.auth.caller import Caller, CallerOf
from api.batches.intake import BatchIntake
from api.batches.lines import Fields, LineParser, checked
from api.batches.store import BatchRecord
from api.batches.upload import MOST_LINES
from api.chat.request import ChatSpec, NotBefore
from api.chat.schemas import ChatRequest
from api.deps import service
from api.errors import ApiError
from api.http.body_routes import BATCH, LongBodyRoute, takes
from api.http.json_limits import JsonReader
from api.jobs.queue import JobQueue
from api.pooling.lines import is_of_texts, line_shape, shown
from api.registry import RegistryReader, servable
from api.schemas import Body, ModelId
from wire.model_registry import ModelRecord

router = APIRouter(prefix="/api/engine/batches", tags=["Batches"], route_class=LongBodyRoute)

IntakeOf = Annotated[BatchIntake, service(BatchIntake)]

JSONL = (
    "application/jsonl",
    "application/x-ndjson",
    "application/x-jsonlines",
    "application/jsonlines",
)
_NOT_OF_A_LINE = {
    "stream_options": "a batch has no streams.",
    "on_disconnect": "a batch has no streams.",
    "priority": "a batch runs in the time that chats leave free.",
    "max_queue_s": "a batch runs in the time that chats leave free.",
    "not_before": "it is the whole batch's.",
    "webhook": "the end of the batch is told, not that of a line.",
}
_AT_ONCE = 64


class PromptsRequest(Body):
    """``POST /api/engine/batches`` as JSON. Other fields are a chat's, and hold for every prompt.

    A prompt is a text, a list of messages, or an object like a line of the JSONL form; without a
    ``custom_id`` it is known by its place, counted from 1.
    """

    model_config = ConfigDict(extra="allow")

    model_id: ModelId
    not_before: NotBefore | None = None
    prompts: Annotated[list[Any], Field(min_length=1, max_length=MOST_LINES)]


_RESULTS: dict[int | str, dict[str, Any]] = {200: {"content": {JSONL[0]: {}}}}
_LINES = {"schema": {"type": "string", "format": "binary"}}
_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/jsonl": _LINES,
            "application/x-ndjson": _LINES,
            "application/json": {"schema": PromptsRequest.model_json_schema()},
        },
    }
}


@router.post("", openapi_extra=_UPLOAD)
@takes(BATCH)
async def create(
    request: Request,
    intake: IntakeOf,
    registry: Annotated[RegistryReader, service(RegistryReader)],
    json_reader: Annotated[JsonReader, service(JsonReader)],
    jobs: Annotated[JobQueue, service(JobQueue)],
    caller: CallerOf,
    model_id: Annotated[str | None, Query(max_length=255)] = None,
    not_before: Annotated[NotBefore | None, Query()] = None,
) -> Response:
    """Queue a batch: JSONL with a ``custom_id`` a line, or JSON with a list of prompts."""
    await jobs.check_quota(caller.owner)
    declared = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if declared == "application/json":
        body = await json_reader.read(PromptsRequest, await request.body())
        rules = await _rules_of(body, registry, json_reader, caller)
        lines = _as_lines(body.prompts)
        model_id = rules.defaults["model_id"]
        begins = not_before if body.not_before is None else body.not_before
        details = {"not_before_ms": begins or 0}
        return _answer(
            await intake.accept(caller.owner, lines, rules, model_id=model_id, details=details)
        )
    if declared not in JSONL:
        message = "Send JSON Lines with the header Content-Type: application/jsonl, or JSON."
        raise ApiError("unsupported_media_type", message)
    try:
        named = None if model_id is None else await _find(model_id, registry, caller)
        defaults = {} if named is None else {"model_id": named.id}
        rules = await _parser(registry, defaults, await registry.default(caller.owner))
        shown = defaults.get("model_id", "")
        details = {"not_before_ms": not_before or 0}
        lines = request.stream()
        return _answer(
            await intake.accept(caller.owner, lines, rules, model_id=shown, details=details)
        )
    except ClientDisconnect:
        return Response(status_code=400)


async def _parser(
    registry: RegistryReader, defaults: Fields, default_model: ModelRecord | None
) -> LineParser:
    models, version = await registry.models(), await registry.oldest_version()
    return LineParser(models, read, defaults, version=version, default_model=default_model)


async def _rules_of(
    body: PromptsRequest, registry: RegistryReader, json_reader: JsonReader, caller: Caller
) -> LineParser:
    """How the prompts of a request are read. Raises ApiError for fields that no prompt can have."""
    fields = dict(body.model_extra or {})
    if "messages" in fields:
        # Validated with each of 50,000 prompts, a long conversation would keep a thread busy for
        # hours.
        sentence = "messages: they are a prompt's own; send them in prompts."
        raise ApiError("invalid_request", sentence, param="messages")
    _refuse_others(fields)
    # A field that holds for every prompt is validated once, by itself.
    trial = {"model_id": body.model_id, "messages": [{"role": "user", "content": "."}]}
    await json_reader.validate(ChatRequest, trial | fields)
    model = await _find(body.model_id, registry, caller)
    return await _parser(registry, fields | {"model_id": model.id}, model)


async def _as_lines(prompts: list[Any]) -> AsyncIterator[bytes]:
    for start in range(0, len(prompts), _AT_ONCE):
        yield await asyncio.to_thread(_lines, start, prompts[start : start + _AT_ONCE])


def _lines(start: int, prompts: list[Any]) -> bytes:
    lines = bytearray()
    for number, prompt in enumerate(prompts, start + 1):
        row = {"custom_id": str(number)}
        if isinstance(prompt, dict):
            row |= prompt
        else:
            row["messages" if isinstance(prompt, list) else "prompt"] = prompt
        lines += to_json(row) + b"\n"
    return bytes(lines)


def read(row: Fields) -> tuple[str, ChatSpec]:
    """Read a line of the native API: a chat's fields, or ``prompt`` in place of ``messages``, or
    texts whose vectors or scores are asked for."""
    _refuse_others(row)
    if (shape := line_shape(row)) is not None:
        texts = checked(shape, row)
        return texts.model_id, texts.spec()
    if "prompt" not in row:
        body = checked(ChatRequest, row)
        return body.model_id, body.spec()
    if "messages" in row:
        sentence = "prompt: send either a prompt or messages."
        raise ApiError("invalid_request", sentence, param="prompt")
    row["messages"] = [{"role": "user", "content": row.pop("prompt")}]
    try:
        body = checked(ChatRequest, row)
    except ApiError as refused:
        raise _of_prompt(refused) from None
    return body.model_id, body.spec()


def _refuse_others(fields: Fields) -> None:
    """Raises ApiError for fields that only a chat by itself has."""
    for name, reason in _NOT_OF_A_LINE.items():
        if name in fields:
            raise ApiError("invalid_request", f"{name}: {reason}", param=name)


def _of_prompt(refused: ApiError) -> ApiError:
    """The refusal of a prompt's message, with the field that was sent in its place."""
    param, lines = refused.param or "", refused.errors
    return ApiError(
        refused.code,
        refused.message,
        errors=[line.replace("messages -> 0 -> content", "prompt", 1) for line in lines],
        param=param.replace("messages[0].content", "prompt", 1) or None,
    )


async def _find(requested: str, registry: RegistryReader, caller: Caller) -> ModelRecord:
    model, _ = await registry.find_to_serve(requested, caller.owner)
    return servable(model, "model_id", task=None)


@router.get("")
async def batches(
    intake: IntakeOf, caller: CallerOf, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[dict[str, Any]]:
    """The caller's batches, newest first."""
    now = await intake.store.now_ms()
    return [view(record, now) for record in await intake.store.all(caller.owner, limit)]


@router.get("/{batch_id}")
async def batch(batch_id: str, intake: IntakeOf, caller: CallerOf) -> dict[str, Any]:
    """One batch as it stands."""
    record = await _record(batch_id, intake, caller)
    return view(record, await intake.store.now_ms())


@router.get("/{batch_id}/results", response_class=StreamingResponse, responses=_RESULTS)
async def results(batch_id: str, intake: IntakeOf, caller: CallerOf) -> Response:
    """The results that there are so far, a line of JSON each, in the order of the upload."""
    record = await _record(batch_id, intake, caller)
    return StreamingResponse(_shown(intake.store.results(record)), media_type=JSONL[0])


async def _shown(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield await asyncio.to_thread(shown, piece) if is_of_texts(piece) else piece


@router.post("/{batch_id}/cancel")
async def cancel(batch_id: str, intake: IntakeOf, caller: CallerOf) -> dict[str, Any]:
    """End a batch early; finished lines are kept. A batch that has ended stays as it is."""
    await intake.cancel(await _record(batch_id, intake, caller))
    return await batch(batch_id, intake, caller)


async def _record(batch_id: str, intake: BatchIntake, caller: Caller) -> BatchRecord:
    record = await intake.store.record(batch_id, caller.owner)
    if record is None:
        raise ApiError("batch_not_found", "There is no such batch.")
    return record


def _answer(record: BatchRecord) -> Response:
    return Response(json.dumps(view(record, record.created_ms)), media_type="application/json")


def view(record: BatchRecord, now_ms: int) -> dict[str, Any]:
    """A batch as clients see it.

    Times are seconds since the epoch; null is what isn't known (yet).
    """
    remaining = 0 if record.ended else record.total - record.done - record.failed
    counts = {"total": record.total, "done": record.done, "failed": record.failed}
    counts |= {
        "cancelled": record.total - record.done - record.failed - remaining,
        "left": remaining,
    }
    spent_s = ((record.ended_ms or now_ms) - record.started_ms) / 1000 if record.started_ms else 0.0
    usage = {
        name: getattr(record, name)
        for name in ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
    }
    return {
        "id": record.id,
        "status": record.state,
        "model_id": record.model_id or None,
        "created_at": record.created_ms / 1000,
        "started_at": record.started_ms / 1000 or None,
        "ended_at": record.ended_ms / 1000 or None,
        "expires_at": record.expires_ms / 1000,
        "not_before": record.not_before_ms / 1000 or None,
        "counts": counts,
        "usage": usage,
        "tokens_per_second": round(record.completion_tokens / spent_s, 1) if spent_s > 0 else None,
        "seconds_left": round(spent_s * remaining / record.done, 1)
        if record.done and not record.ended
        else None,
    }
