"""The HTTP response with several answers to one request."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from api.chat.readers import ChatReaders
from api.openai.choices.answer import ChoicesAnswer
from api.openai.choices.readers import ChoiceReaders, begin
from api.openai.choices.streaming import ChoicesResponse, ChoicesStream, whole
from api.serving.reading import HOLD_S, header


async def streamed(
    group: ChoiceReaders,
    answer: ChoicesAnswer,
    readers: ChatReaders,
    request: Request,
    headers: Mapping[str, str],
) -> Response:
    """A stream of the chunks of all answers. Raises ApiError for a refusal before it begins."""
    keepalive_s = readers.keepalive_s
    beginnings = await begin(group, answer, request, min(HOLD_S, keepalive_s))
    if beginnings is None:
        return Response()  # the client has gone
    stream = ChoicesStream(group, readers.records, keepalive_s, answer, beginnings)
    known = [*answer.warnings, *(text for one in beginnings for text in one.warnings)]
    return ChoicesResponse(group, stream, {**headers, **header(list(dict.fromkeys(known)))})


async def unstreamed(
    group: ChoiceReaders,
    answer: ChoicesAnswer,
    readers: ChatReaders,
    request: Request,
    headers: Mapping[str, str],
) -> Response:
    """All answers, once they have ended. Raises ApiError if one fails."""
    ended = await whole(group, answer, readers.records, request)
    if ended is None:
        return Response()  # the client has gone
    body = answer.whole(*ended)
    told = {"X-Cancelled": "true"} if body.get("cancelled") else {}
    return JSONResponse(body, headers={**headers, **told, **header(body.get("warnings", ()))})
