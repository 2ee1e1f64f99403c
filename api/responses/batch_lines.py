"""Responses as lines of batches: bodies read as those of the route, results written as its answers.

What a response repeats of its request goes with the line, packed. Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace

from api.batches.lines import checked
from api.chat.request import ChatSpec
from api.errors import ApiError
from api.openai.batches.batch_lines import (
    Answered,
    Endpoint,
    reader,
    refuse_order,
    refuse_stream,
)
from api.responses.answer.output_items import Json
from api.responses.answer.response_object import asked_for, view_of
from api.responses.fields import FIELDS
from api.responses.schemas import ResponsesBody
from api.responses.stored.record import ResponseRecord, unpacked
from wire.messages import Event, Finished

RESPONSES = "/v1/responses"
_SENTENCES = {
    "background": "A batch runs in the background: leave background out.",
    "store": "Responses of a batch are in its output file and not stored: leave store out.",
    "previous_response_id": "In a batch a response stands alone: send the items before it.",
}


def _read(sent: Json) -> tuple[str | None, ChatSpec, Sequence[str]]:
    """A body as a model's name, what is asked of it, and the fields that were ignored."""
    body = checked(ResponsesBody, sent)
    refuse_stream(body.stream)
    refuse_order(body)
    for name, sentence in _SENTENCES.items():
        if getattr(body, name):
            raise ApiError("unsupported", sentence, param=name)
    asked = body.asked()
    record = ResponseRecord("", "", asked_for(body), view_of(body, asked.tools))
    packed = str(base64.b64encode(record.packed()), "ascii")
    return body.model, replace(asked.spec, asked=packed), asked.ignored


def _written(answered: Answered, events: Sequence[Event], end: Finished) -> Json:
    """A line's result as the response that it is."""
    record = replace(
        unpacked(base64.b64decode(answered.asked)),
        model=answered.model,
        warnings=tuple(answered.warnings),
        stored=False,
    )
    told = record.events(answered.request_id, answered.created, answered.sampling, FIELDS)
    return told.whole([*events, end])


RESPONSE_LINES = Endpoint(reader(RESPONSES, _read), _written, FIELDS.param_of)
