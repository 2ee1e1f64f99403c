"""OpenAI's model routes: what can be asked, under the names to ask for it by.

Anthropic's clients ask at the same address, and are answered in their shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel

from api.auth.caller import CallerOf
from api.chat.sampling import MAX_TOKENS
from api.deps import JsonOnly, service
from api.error_shapes.anthropic import VERSION_HEADER, AnthropicErrorBody, is_anthropic
from api.errors import OPENAI_PREFIX, OpenAiErrorBody, unknown_model
from api.registry import RegistryReader, names_no_model, public_name
from wire.model_registry import ModelRecord

router = APIRouter(
    prefix=f"{OPENAI_PREFIX}/models",
    tags=["OpenAI"],
    dependencies=[JsonOnly],
    responses={
        kind: {"model": OpenAiErrorBody | AnthropicErrorBody} for kind in (422, "4XX", "5XX")
    },
)


RegistryOf = Annotated[RegistryReader, service(RegistryReader)]
USUAL_PAGE, LARGEST_PAGE = 20, 1000

Version = Annotated[str | None, Header(alias=VERSION_HEADER)]


class ModelView(BaseModel):
    """A model in OpenAI's shape, two fields of vLLM's and four of ours.

    ``created`` is the date of its files. ``parent`` is the base of an adapter, else null.
    ``sampling_defaults`` are its own for requests that leave these fields out. ``capabilities``:
    ``chat``, ``embeddings``, ``rerank``, and of a chat model ``vision`` and ``tools``.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    parent: str | None
    max_model_len: int | None
    context_window: int | None
    is_vision: bool
    capabilities: list[str]
    sampling_defaults: dict[str, float]


class ModelList(BaseModel):
    """All that can be asked."""

    object: Literal["list"]
    data: list[ModelView]


class AnthropicModel(BaseModel):
    """``created_at`` is the date of its files."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    max_input_tokens: int
    max_tokens: int


class AnthropicModelList(BaseModel):
    """A page of models."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


@router.get("/", include_in_schema=False)  # else the model without a name
@router.get("", response_model=ModelList | AnthropicModelList)
async def models(
    request: Request,
    registry: RegistryOf,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = USUAL_PAGE,
    before_id: str | None = None,
    after_id: str | None = None,
    _: Version = None,
) -> dict[str, Any]:
    """The models that can be asked, under the names to ask for them by.

    In Anthropic's shape, and in pages, for who sends ``anthropic-version``.
    """
    records, created = await registry.models(), await registry.created()
    view = _anthropics if is_anthropic(request.scope) else _listed
    names = {record.id: public_name(record, records) for record in records}
    listed = [
        view(names[record.id], record, created, names.get(record.base_id))
        for record in records
        if record.downloaded and not record.problem and ("chat" in record.tasks or view is _listed)
    ]
    if is_anthropic(request.scope):
        return _page(listed, limit, before_id, after_id)
    return {"object": "list", "data": listed}


@router.get("/{model:path}", response_model=ModelView | AnthropicModel)
async def model(
    request: Request, model: str, registry: RegistryOf, caller: CallerOf, _: Version = None
) -> dict[str, Any]:
    """One model, by any of its names; behind an alias under its own."""
    record = await registry.find(await registry.meant(model) or model)
    if record is None and names_no_model(await registry.meant(model)):
        record = await registry.default(caller.owner)
    if record is None or not record.downloaded or record.problem:
        raise unknown_model(param="model")
    records = await registry.models()
    name = model if model in record.names else public_name(record, records)
    base = next((one for one in records if one.id == record.base_id), None)
    view = _anthropics if is_anthropic(request.scope) else _listed
    parent = None if base is None else public_name(base, records)
    return view(name, record, await registry.created(), parent)


def _listed(
    name: str, record: ModelRecord, created: Mapping[str, int], parent: str | None
) -> dict[str, Any]:
    owner = record.repository.split("/")[0] if record.repository else "local"
    row = {"id": name, "object": "model", "created": created.get(record.id, 0), "owned_by": owner}
    window = record.context_window
    row |= {
        "parent": parent,
        "max_model_len": window,
        "context_window": window,
        "is_vision": record.is_vision,
    }
    row["capabilities"] = record.capabilities
    return row | {"sampling_defaults": record.sampling_defaults.given()}


def _anthropics(
    name: str, record: ModelRecord, created: Mapping[str, int], _parent: str | None
) -> dict[str, Any]:
    """One model by the name to ask for it by."""
    date = datetime.fromtimestamp(created.get(record.id, 0), UTC)
    return {
        "type": "model",
        "id": name,
        "display_name": record.name,
        "created_at": date.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": record.context_window,
        "max_tokens": min(MAX_TOKENS, record.context_window),
    }


def _page(
    rows: list[dict[str, Any]], limit: int, before_id: str | None, after_id: str | None
) -> dict[str, Any]:
    """The rows behind one or before one; a page from an id that isn't there is empty."""
    ids = [row["id"] for row in rows]
    first, last = 0, len(rows)
    if after_id is not None:
        first = ids.index(after_id) + 1 if after_id in ids else len(rows)
    if before_id is not None:
        last = ids.index(before_id) if before_id in ids else 0
    among = rows[first:last]
    backwards = before_id is not None and after_id is None
    shown = among[-limit:] if backwards else among[:limit]
    return {
        "data": shown,
        "has_more": len(among) > len(shown),
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }
