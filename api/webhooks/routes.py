"""The routes of webhook endpoints, as OpenAI's clients call them, for an owner's own endpoints.

A secret is in the answer to a creation alone.
"""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.auth.caller import Caller, CallerOf
from api.deps import JsonOnly, service
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES, ApiError
from api.openai.pagination import page
from api.schemas import Body, Text
from api.webhooks.deliveries import Deliveries
from api.webhooks.dispatcher import Dispatcher
from api.webhooks.endpoints import Endpoint
from api.webhooks.events import EVENT_TYPES, Event, EventType, digest
from api.webhooks.sender import MOST_URL, NotSent

router = APIRouter(
    prefix=f"{OPENAI_PREFIX}/webhook_endpoints",
    tags=["Webhooks"],
    dependencies=[JsonOnly],
    responses=OPENAI_RESPONSES,
)

DispatcherOf = Annotated[Dispatcher, service(Dispatcher)]
DeliveriesOf = Annotated[Deliveries, service(Deliveries)]
_SHOWN = 4
"""Characters of a secret that stay visible."""


class NewEndpoint(Body):
    """``POST /v1/webhook_endpoints``. ``all_keys`` is not OpenAI's."""

    name: Annotated[Text, Field(min_length=1, max_length=64)]
    url: Annotated[Text, Field(min_length=1, max_length=MOST_URL)]
    event_types: list[EventType] = Field(min_length=1, max_length=len(EVENT_TYPES))
    all_keys: bool = False


class Sample(Body):
    """``POST /v1/webhook_endpoints/{endpoint_id}/test``."""

    event_type: EventType


class EndpointView(BaseModel):
    id: str
    object: Literal["webhook_endpoint"]
    name: str
    url: str
    event_types: list[str]
    all_keys: bool
    created_at: int
    signing_secret_hint: str


class NewEndpointView(EndpointView):
    signing_secret: str


class EndpointList(BaseModel):
    object: Literal["list"]
    data: list[EndpointView]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedEndpoint(BaseModel):
    id: str
    object: Literal["webhook_endpoint.deleted"]
    deleted: bool


class Tested(BaseModel):
    object: Literal["webhook_endpoint.test"]
    webhook_endpoint_id: str
    event_type: str
    success: Literal[True]
    status_code: int


@router.post("")
async def create_endpoint(
    body: NewEndpoint, deliveries: DeliveriesOf, dispatcher: DispatcherOf, caller: CallerOf
) -> NewEndpointView:
    """Have an address told when something of yours ends; only this answer has its secret."""
    _check_all_keys(body, caller)
    dispatcher.sender.check(body.url)
    endpoint = await deliveries.endpoints.add(
        caller.owner, body.name, body.url, body.event_types, all_keys=body.all_keys
    )
    return NewEndpointView(**_view(endpoint), signing_secret=endpoint.secret)


def _check_all_keys(body: NewEndpoint, caller: Caller) -> None:
    if body.all_keys and not caller.sees_others:
        sentence = "Ends of all keys are told to endpoints of keys with the role admin."
        raise ApiError("forbidden", sentence, param="all_keys")


@router.get("")
async def list_endpoints(
    deliveries: DeliveriesOf,
    caller: CallerOf,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> EndpointList:
    """Your webhook endpoints, newest first."""
    return EndpointList(**page(await deliveries.endpoints.of(caller.owner), after, limit, _view))


@router.get("/{endpoint_id}")
async def endpoint(endpoint_id: str, deliveries: DeliveriesOf, caller: CallerOf) -> EndpointView:
    """One webhook endpoint, without its secret."""
    return EndpointView(**_view(await deliveries.endpoints.find(endpoint_id, caller.owner)))


@router.delete("/{endpoint_id}")
async def delete_endpoint(
    endpoint_id: str, deliveries: DeliveriesOf, caller: CallerOf
) -> DeletedEndpoint:
    """Delete a webhook endpoint, and with it what was still to be sent there."""
    found = await deliveries.endpoints.find(endpoint_id, caller.owner)
    await deliveries.remove(found)
    return DeletedEndpoint(id=found.id, object="webhook_endpoint.deleted", deleted=True)


@router.post("/{endpoint_id}/test")
async def test_endpoint(
    endpoint_id: str, body: Sample, dispatcher: DispatcherOf, caller: CallerOf
) -> Tested:
    """Send a sample now, once, and tell the status that came back."""
    found = await dispatcher.deliveries.endpoints.find(endpoint_id, caller.owner)
    number = digest(secrets.token_hex())
    sample = Event(body.event_type, f"test_{number}", caller.owner, int(time.time() * 1000))
    try:
        status = await dispatcher.status(found, f"wh_{number}", sample.body(number))
    except NotSent as reason:
        raise ApiError("webhook_failed", f"The sample could not be sent: {reason}.") from None
    return Tested(
        object="webhook_endpoint.test",
        webhook_endpoint_id=found.id,
        event_type=body.event_type,
        success=True,
        status_code=status,
    )


def _view(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": list(endpoint.event_types),
        "all_keys": endpoint.all_keys,
        "created_at": endpoint.created_ms // 1000,
        "signing_secret_hint": f"whsec_…{endpoint.secret[-_SHOWN:]}",
    }
