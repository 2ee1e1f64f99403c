"""The RQ dashboard on a thread of its own, because it reads Redis synchronously.

Makes sure, too, that nothing in this process unpickles what it finds in Redis.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from typing import Any

import rq.serializers
from fastapi.exceptions import FastAPIDeprecationWarning
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.monitoring.dashboard_frame import Frame

_WAIT_S = 2


def never_unpickle() -> None:
    """Replace the methods of RQ's pickle serializer by those of its JSON serializer."""
    safe = rq.serializers.JSONSerializer
    pickle: Any = rq.serializers.DefaultSerializer
    pickle.dumps = staticmethod(safe.dumps)
    pickle.loads = staticmethod(safe.loads)


class OnItsOwnLoop:
    """Runs an application on the event loop of another thread, so that it blocks no stream."""

    def __init__(self, app: ASGIApp, frame: Frame) -> None:
        self._app = app
        self._frame = frame
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="dashboard", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        answer = asyncio.run_coroutine_threadsafe(self._answer(scope, body), self._loop)
        for message in self._frame.around(await asyncio.wrap_future(answer)):
            await send(message)

    async def _answer(self, scope: Scope, body: bytes) -> list[Message]:
        messages: list[Message] = []
        never = asyncio.Event()
        requests = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Message:
            for message in requests:
                return message
            await never.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, send)
        return messages


def dashboard(redis_url: str, prefix: str) -> OnItsOwnLoop:
    """The dashboard for the queues in a Redis."""
    never_unpickle()
    from rq_dashboard_fast import RedisQueueDashboard

    between = "&" if "?" in redis_url else "?"
    patient = f"{redis_url}{between}socket_timeout={_WAIT_S}&socket_connect_timeout={_WAIT_S}"
    # Its own documentation pages would load scripts from elsewhere.
    no_pages = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    with warnings.catch_warnings():
        # about an argument of theirs, not of ours
        warnings.simplefilter("ignore", FastAPIDeprecationWarning)
        return OnItsOwnLoop(RedisQueueDashboard(patient, prefix, **no_pages), Frame(prefix))
