"""The receipt of a chat that has ended, and running it again."""

from __future__ import annotations

import functools
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.auth.caller import CallerOf
from api.chat.readers import ChatReaders
from api.chat.submit import Chats
from api.deps import JsonOnly, service
from api.errors import ApiError, unknown_model
from api.jobs.policy import Policy
from api.receipts.comparison import Comparison, compared
from api.receipts.receipts import Receipt, Receipts
from api.serving.reading import whole
from api.serving.submission import stop_soon
from wire.messages import ChatJob, ErrorCode

router = APIRouter(prefix="/api/engine/jobs", tags=["Chat"], dependencies=[JsonOnly])
ReceiptsOf = Annotated[Receipts, service(Receipts)]


class Replay(Comparison):
    """What ``POST /api/engine/jobs/{job_id}/replay`` returns: ``job_id`` is the replay's own."""

    job_id: str
    replay_of: str


class _NoFields:
    """A replay has no fields that its end could be the fault of."""

    def param_of(self, code: ErrorCode) -> str | None:  # noqa: ARG002 (the protocol's shape)
        return None


@router.get("/{job_id}/receipt")
async def receipt(job_id: str, receipts: ReceiptsOf, caller: CallerOf) -> Receipt:
    """How a chat that has ended was answered: by whom, with what, in which time."""
    return await receipts.of(job_id, caller.owner)


@router.post("/{job_id}/replay", response_class=JSONResponse, responses={200: {"model": Replay}})
async def replay(
    job_id: str,
    request: Request,
    receipts: ReceiptsOf,
    chats: Annotated[Chats, service(Chats)],
    readers: Annotated[ChatReaders, service(ChatReaders)],
    caller: CallerOf,
) -> Response:
    """Run a chat that has ended again, and compare both answers token by token.

    The same request with the same seed and sampling, on the same files of the same model, as a chat
    of class flex. The answer comes when it has ended; a client that goes away ends it.
    """
    _, original = await receipts.ended(job_id, caller.owner)
    job = await receipts.request(job_id)
    await _check_model(job, chats, caller.owner)
    reader = await chats.submit_again(job, Policy("cancel", tier="flex", replay_of=job_id))
    leave = functools.partial(stop_soon, chats.jobs, reader.job_id, caller)
    events = await whole(reader, _NoFields(), readers.records, request, leave)
    if events is None:
        return Response()  # the client has gone
    result = compared(original, events)
    if result is None:
        raise ApiError("conflict", "The replay was stopped before its end.")
    await receipts.count(result)
    view = Replay(job_id=reader.job_id, replay_of=job_id, **result.model_dump())
    return JSONResponse(view.model_dump(), headers={"X-Job-Id": reader.job_id})


async def _check_model(job: ChatJob, chats: Chats, owner: str) -> None:
    """Raises ApiError unless the chat's model can be served as it was."""
    model = await chats.find_model(job.model_id, owner)
    if model.id != job.model_id:
        raise unknown_model()
    if model.revision != job.model_revision:
        sentence = "The model's files have changed since this chat was answered."
        raise ApiError("model_changed", sentence)
