"""Vectors and scores as lines of OpenAI batches. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from api.batches.lines import checked
from api.chat.request import ChatSpec
from api.openai.batches.batch_lines import Answered, Endpoint, Endpoints, ReadBody, Write, reader
from api.openai.pooling.answers import EmbeddingsAnswer, Json, PoolingAnswer, RerankAnswer
from api.openai.pooling.schemas import EmbeddingsBody, RerankBody
from wire.messages import Event, Finished


def _body_reader(shape: type[EmbeddingsBody] | type[RerankBody]) -> ReadBody:
    def read(sent: Json) -> tuple[str | None, ChatSpec, Sequence[str]]:
        body = checked(shape, sent)
        body.refuse()
        return body.model, body.spec(), body.ignored()

    return read


def _writer(kind: type[PoolingAnswer]) -> Write:
    def write(answered: Answered, events: Sequence[Event], end: Finished) -> Json:
        answer = kind(answered.request_id, answered.created, answered.model, answered.asked)
        return answer.whole(events, end)

    return write


def _endpoint(
    path: str, shape: type[EmbeddingsBody] | type[RerankBody], kind: type[PoolingAnswer]
) -> Endpoint:
    return Endpoint(reader(path, _body_reader(shape)), _writer(kind), kind.param_of)


POOLING_LINES: Endpoints = {
    "/v1/embeddings": _endpoint("/v1/embeddings", EmbeddingsBody, EmbeddingsAnswer),
    "/v1/rerank": _endpoint("/v1/rerank", RerankBody, RerankAnswer),
}
