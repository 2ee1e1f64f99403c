"""Closes connections whose client reads nothing, or stops in the middle of a request.

A stream that was cut so goes on with its cursor like any other. Knows connections only.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

STALL_S = 60.0
"""How long a full buffer may stay full. A client that reads a few hundred bytes a second is
still in time."""


HEADERS_S = 10.0
"""How long a connection may take to bring the head of its first request, and of a later one from
its first byte."""
BODY_S = 60.0
"""How long each MiB of a body may take to arrive, and what is left of it."""
_PIECE = 1 << 20


class TimeoutProtocol(HttpToolsProtocol):
    """uvicorn's protocol with time limits for clients that don't read or write."""

    _cut: asyncio.TimerHandle | None = None
    _due: asyncio.TimerHandle | None = None
    _arrived = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(HEADERS_S)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._due is None:
            self._expect(HEADERS_S)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._expect(BODY_S)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._arrived += len(body)
        if self._arrived >= _PIECE:
            self._expect(BODY_S)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._expect(None)

    def _expect(self, within_s: float | None) -> None:
        """Close the connection unless more data has arrived in time; None: no more is expected."""
        self._arrived = 0
        if self._due is not None:
            self._due.cancel()
        self._due = (
            None if within_s is None else self.loop.call_later(within_s, self.transport.abort)
        )

    def pause_writing(self) -> None:
        super().pause_writing()
        # Not closed: that would wait for the client to take what it doesn't take.
        self._cut = self._cut or self.loop.call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._reprieve()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reprieve()
        self._expect(None)
        super().connection_lost(exc)

    def _reprieve(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
