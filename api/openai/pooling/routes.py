"""The routes for vectors and scores: each request is a job in the queue of chats.

A client that goes away ends its job. The result is dropped once it has been read for the answer,
unless an ``Idempotency-Key`` says that it may be asked for again.
"""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic_core import to_json

from api.deps import JsonOnly
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES, ApiError
from api.http.body_routes import COMPLETION, LongBodyRoute, takes
from api.openai.pooling.answers import EmbeddingsAnswer, PoolingAnswer, RerankAnswer
from api.openai.pooling.response_schemas import Embeddings, Ranking, answered_with
from api.openai.pooling.schemas import EmbeddingsBody, RerankBody
from api.serving.respond import end_of
from api.serving.submission import ContextOf, RequestContext, submit

router = APIRouter(
    prefix=OPENAI_PREFIX,
    tags=["OpenAI"],
    dependencies=[JsonOnly],
    responses=OPENAI_RESPONSES,
    route_class=LongBodyRoute,
)


@router.post("/embeddings", response_class=JSONResponse, responses=answered_with(Embeddings))
@takes(COMPLETION)
async def embeddings(body: EmbeddingsBody, context: ContextOf) -> Response:
    """The vectors of texts, by an embedding model."""
    return await _answer(body, EmbeddingsAnswer, context)


@router.post("/rerank", response_class=JSONResponse, responses=answered_with(Ranking))
@takes(COMPLETION)
async def rerank(body: RerankBody, context: ContextOf) -> Response:
    """Documents ranked by how well they fit a query, by a reranker or an embedding model."""
    return await _answer(body, RerankAnswer, context)


async def _answer(
    body: EmbeddingsBody | RerankBody, kind: type[PoolingAnswer], context: RequestContext
) -> Response:
    body.refuse()
    spec = body.spec()
    submitted = await submit(body, body.model, [spec], body.ignored(), context)
    answer = kind(submitted.job_id, int(time.time()), submitted.model_name, spec.asked)
    ended = await end_of(submitted, context, answer)
    if ended is None:
        return Response()  # the client has gone
    if context.idempotency_key is None:
        await context.readers.records.drop_text(submitted.job_id)
    if ended.end.finish_reason == "cancelled":
        raise ApiError("expired", "The job was stopped before it had all its results.")
    # Numbers as text are megabytes: written beside the event loop.
    content = await asyncio.to_thread(lambda: to_json(answer.whole(*ended)))
    return Response(content, media_type="application/json", headers=submitted.headers)
