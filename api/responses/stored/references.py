"""Items that a request refers to by their ids: found among those of the caller's responses."""

from __future__ import annotations

import json
import re

from api.errors import ApiError
from api.http.body_routes import MAX_BODY
from api.responses.answer.output_items import Json
from api.responses.answer.response_object import ID
from api.responses.items import ItemReference
from api.responses.schemas import ResponsesBody
from api.responses.stored.chain import read
from api.responses.stored.reading import StoredResponses

_ITEM_ID = re.compile("[a-z]+_([0-9a-f]{32})i?[0-9a-f]{4,}")
"""An item's id has that of its response's job in it (answer.output_items, stored.record)."""


async def with_items(body: ResponsesBody, stored: StoredResponses) -> ResponsesBody:
    """A request with the items that it refers to in the places of its references.

    Where nothing is stored they are left, to be refused by name. Raises ApiError for an item that
    isn't there or is another's, for one that has not ended, and for one that is named twice.
    """
    places: dict[str, int] = {}
    for number, item in enumerate(body.input):
        if isinstance(item, ItemReference):
            if item.id in places:
                sentence = "Another reference names this item already."
                raise ApiError("invalid_request", sentence, param=_param(number))
            places[item.id] = number
    if not places or not stored.store.enabled:
        return body
    items = list(body.input)
    for number, found in (await _found(places, stored)).items():
        [items[number]] = read([found])
    return body.model_copy(update={"input": items})


async def _found(places: dict[str, int], stored: StoredResponses) -> dict[int, Json]:
    """The items of these ids, by where they are wanted. Each response is read once."""
    wanted: dict[str, list[str]] = {}
    for item_id, number in places.items():
        match = _ITEM_ID.fullmatch(item_id)
        if match is None:
            raise _missing(number)
        wanted.setdefault(match[1], []).append(item_id)
    found: dict[int, Json] = {}
    room = MAX_BODY
    for job_id, ids in wanted.items():
        there = await _items_of(job_id, places[ids[0]], stored)
        for item_id in ids:
            number = places[item_id]
            if (item := there.get(item_id)) is None:
                raise _missing(number)
            if item.get("status") == "in_progress":
                sentence = "This item has not ended yet."
                raise ApiError("invalid_request", sentence, param=_param(number))
            # As much as could be sent in their places.
            room -= len(json.dumps(item))
            if room < 0:
                sentence = "The items that are referred to are too long together."
                raise ApiError("too_large", sentence, param=_param(number))
            found[number] = item
    return found


async def _items_of(job_id: str, number: int, stored: StoredResponses) -> dict[str, Json]:
    """What a response was asked with and what it answered, by id."""
    try:
        found = await stored.find(ID + job_id)
    except ApiError as error:
        raise (_missing(number) if error.code == "not_found" else error) from None
    told = await stored.now(found)
    return {item["id"]: item for item in (*found.record.items, *told["output"])}


def _missing(number: int) -> ApiError:
    return ApiError("not_found", "There is no such item.", param=_param(number))


def _param(number: int) -> str:
    return f"input[{number}].id"
