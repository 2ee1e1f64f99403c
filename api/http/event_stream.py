"""An event-stream response that notices when its client disconnects, and always reports its end.

Knows nothing of what is streamed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class EventStreamResponse(StreamingResponse):
    """Sends without a task group, which the base class starts for each response.

    ``gone`` is called when the client has left: the chunks should come to an end then. ``over`` is
    called once at the end, however that came; both are synchronous, so that they work while the
    request's task is being cancelled.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        chunks: AsyncIterable[bytes],
        *,
        gone: Callable[[], None],
        over: Callable[[], None],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        fixed = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(chunks, headers=fixed | dict(headers or {}))
        self._gone = gone
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        watch = asyncio.ensure_future(self._wait_for_leave(receive))
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            async for chunk in self.body_iterator:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._over()
            watch.cancel()

    async def _wait_for_leave(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone()
