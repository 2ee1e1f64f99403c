"""Stored responses: looked up, read again, cancelled, deleted; and what they were asked with."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.deps import JsonOnly
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES, ApiError
from api.http.head_requests import refuse_head
from api.openai.pagination import page
from api.responses.fields import HIDDEN_REASONING
from api.responses.response_schemas import Response as ResponseView
from api.responses.response_schemas import answers
from api.responses.stored.reading import StoredOf, StoredResponses
from api.responses.streaming import SILENCE_S, ResponseStream
from api.serving.reading import BoundStream, Collected
from api.serving.submission import keep_running

router = APIRouter(
    prefix=OPENAI_PREFIX, tags=["OpenAI"], dependencies=[JsonOnly], responses=OPENAI_RESPONSES
)
CANCEL_S = 5.0
"""How long the answer to a cancel waits for the job's end."""
Include = Annotated[list[str], Query(alias="include[]", max_length=64)]


class DeletedResponse(BaseModel):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputItems(BaseModel):
    """A page of items."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


@router.post("/responses/compact", include_in_schema=False)
async def compact_response() -> None:
    """Refused: without a route this would be the address of a response named ``compact``."""
    raise ApiError("not_found", "Conversations are not compacted here: send truncation: auto.")


@router.get("/responses/{response_id}", response_class=JSONResponse, responses=answers())
async def response(
    request: Request,
    response_id: str,
    stored: StoredOf,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    include: Include = [],  # noqa: B006
) -> Response:
    """A stored response as it stands, or its events behind a sequence number."""
    if stream:
        refuse_head(request)
    found = await stored.find(response_id, hidden_thinking=HIDDEN_REASONING in include)
    if starting_after is not None and not stream:
        sentence = "starting_after is for streams: send stream=true."
        raise ApiError("invalid_request", sentence, param="starting_after")
    if not stream:
        return JSONResponse(await stored.now(found))
    reader = await stored.readers.attach(found.job_id)
    keepalive_s = min(stored.readers.keepalive_s, SILENCE_S)
    after = -1 if starting_after is None else starting_after
    told = ResponseStream(
        reader, stored.readers.records, keepalive_s, found.events, after=after, resumable=True
    )
    return BoundStream(reader, told, keep_running)


@router.post(
    "/responses/{response_id}/cancel",
    response_class=JSONResponse,
    responses={200: {"model": ResponseView}},
)
async def cancel_response(response_id: str, stored: StoredOf) -> Response:
    """Stop a response; one that has ended stays as it is."""
    found = await stored.find(response_id)
    await stored.jobs.stop(found.job_id, stored.caller.owner)
    await _end_of(found.job_id, stored)
    return JSONResponse(await stored.now(await stored.find(response_id)))


@router.delete("/responses/{response_id}")
async def delete_response(response_id: str, stored: StoredOf) -> DeletedResponse:
    """Forget a response, and stop it if it goes on."""
    found = await stored.find(response_id)
    await stored.store.drop(found.job_id)
    await stored.readers.records.forget_request(found.job_id)
    await stored.jobs.stop(found.job_id, stored.caller.owner)
    return DeletedResponse(id=response_id, object="response", deleted=True)


@router.get("/responses/{response_id}/input_items")
async def input_items(
    response_id: str,
    stored: StoredOf,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> InputItems:
    """The items that a response answers, those of the chain before it included."""
    items = (await stored.find(response_id)).record.items
    rows = list(items if order == "asc" else reversed(items))
    return InputItems(**page(rows, after, limit, dict))


async def _end_of(job_id: str, stored: StoredResponses) -> None:
    """Wait for a job's end, a while."""
    reader = await stored.readers.attach(job_id)
    try:
        async with asyncio.timeout(CANCEL_S):
            await Collected(reader, stored.readers.records).collect()
    except TimeoutError:
        return
    finally:
        reader.detach()
