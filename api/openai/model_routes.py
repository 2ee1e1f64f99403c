"""OpenAI's model routes: what can be asked, under the names to ask for it by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from api.deps import JsonOnly, service
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES, unknown_model
from api.registry import RegistryReader, public_name
from wire.model_registry import ModelRecord

router = APIRouter(
    prefix=f"{OPENAI_PREFIX}/models",
    tags=["OpenAI"],
    dependencies=[JsonOnly],
    responses=OPENAI_RESPONSES,
)


RegistryOf = Annotated[RegistryReader, service(RegistryReader)]


class ModelView(BaseModel):
    """A model in OpenAI's shape, a field of vLLM's and two of ours.

    ``created`` is the date of its files.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int | None
    context_window: int | None
    is_vision: bool


class ModelList(BaseModel):
    """All that can be asked."""

    object: Literal["list"]
    data: list[ModelView]


@router.get("", response_model=ModelList)
async def models(registry: RegistryOf) -> dict[str, Any]:
    """The models that can be asked, under the names to ask for them by."""
    records, created = await registry.models(), await registry.created()
    listed = [
        _listed(public_name(record, records), record, created)
        for record in records
        if record.downloaded
    ]
    return {"object": "list", "data": listed}


@router.get("/{model:path}", response_model=ModelView)
async def model(model: str, registry: RegistryOf) -> dict[str, Any]:
    """One model, by any of its names."""
    record = await registry.find(model)
    if record is None or not record.downloaded:
        raise unknown_model(param="model")
    return _listed(model, record, await registry.created())


def _listed(name: str, record: ModelRecord, created: Mapping[str, int]) -> dict[str, Any]:
    owner = record.repository.split("/")[0] if record.repository else "local"
    row = {"id": name, "object": "model", "created": created.get(record.id, 0), "owned_by": owner}
    window = record.context_window
    return row | {"max_model_len": window, "context_window": window, "is_vision": record.is_vision}
