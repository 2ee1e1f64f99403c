"""What api relies on of FastAPI, Starlette, uvicorn and RQ beyond their documentation: a release
that changes it fails here first."""

from __future__ import annotations

import asyncio
import inspect

import pytest
import rq.job
import rq.serializers
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class _Body(BaseModel):
    text: str


def test_a_request_gives_the_body_that_was_put_into_it_and_reads_nothing() -> None:
    request = Request({"type": "http"})
    request._body = b"read before"
    assert asyncio.run(request.body()) == b"read before"


def test_a_route_tells_the_model_of_its_body() -> None:
    router = APIRouter()

    @router.post("/")
    def ask(asked: _Body) -> None: ...

    @router.get("/")
    def look() -> None: ...

    posted, got = router.routes
    assert isinstance(posted, APIRoute)
    assert posted.body_field is not None
    assert posted.body_field.field_info.annotation is _Body
    assert isinstance(got, APIRoute)
    assert got.body_field is None


@pytest.mark.parametrize(
    "name",
    [
        "connection_made",
        "connection_lost",
        "on_message_begin",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "pause_writing",
        "resume_writing",
    ],
)
def test_the_protocol_calls_what_is_overridden(name: str) -> None:
    assert callable(getattr(HttpToolsProtocol, name))


def test_a_protocol_has_its_loop_and_its_transport() -> None:
    source = inspect.getsource(HttpToolsProtocol)
    assert "self.loop" in source
    assert "self.transport" in source


def test_rq_reads_jobs_with_the_two_functions_of_its_default_serializer() -> None:
    """RQ's serialisers are replaced by JSON's, so that no page unpickles data from Redis."""
    assert callable(rq.serializers.DefaultSerializer.dumps)
    assert callable(rq.serializers.DefaultSerializer.loads)
    assert rq.serializers.resolve_serializer() is rq.serializers.DefaultSerializer
