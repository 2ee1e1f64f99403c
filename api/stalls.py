"""An end for connections whose client takes nothing: what waits for one is bounded in bytes, and here in time.

A stream that was cut so goes on with its cursor like any other. Knows connections only.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

STALL_S = 60.0
"""How long a full buffer may stay full. A client that reads a few hundred bytes a second is still in time."""


class StallingClientsAreCut(HttpToolsProtocol):
    """uvicorn's protocol, which stops asking the application for more while a client's buffer is full."""

    _cut: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        # Not closed: that would wait for the client to take what it doesn't take.
        self._cut = self._cut or self.loop.call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._reprieve()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reprieve()
        super().connection_lost(exc)

    def _reprieve(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
