"""The conversation behind ``previous_response_id``: what was asked and answered before."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from api.errors import ApiError
from api.responses.answer.output_items import Json
from api.responses.items import Item
from api.responses.stored.reading import StoredResponses
from api.responses.stored.store import unknown

FIELD = "previous_response_id"
_ITEMS: TypeAdapter[list[Any]] = TypeAdapter(list[Item])


async def earlier_items(response_id: str | None, stored: StoredResponses) -> list[Json]:
    """The items of a response's conversation, its answer included; none without an id.

    Raises ApiError for one that isn't there, has not ended, or failed.
    """
    if response_id is None:
        return []
    try:
        found = await stored.find(response_id)
    except ApiError as error:
        raise (unknown(FIELD) if error.code == "not_found" else error) from None
    told = await stored.now(found)
    if told["status"] in ("queued", "in_progress"):
        sentence = "This response has not ended yet."
        raise ApiError("invalid_request", sentence, param=FIELD)
    if told["status"] == "failed":
        raise ApiError("invalid_request", "This response failed.", param=FIELD)
    return [*found.record.items, *told["output"]]


def read(items: list[Json]) -> list[Any]:
    """Stored items as those of a request."""
    return _ITEMS.validate_python(items)
