"""uvicorn as this service runs it: long-lived streams, an orderly end, many open connections."""

from __future__ import annotations

import contextlib
import gc
import logging
import resource
import socket
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.http.slow_clients import TimeoutProtocol
from api.services import end_streams, warm_up
from wire.settings import Settings

_log = logging.getLogger("api")

_GRACE_S = 5
"""Time that requests get to finish at shutdown; streams need none of it."""
KEEP_ALIVE_S = 75
"""How long an idle connection is kept open: longer than pools of proxies (nginx: 60 s) and HTTP
clients keep theirs, so that they close it first and never write into a closed connection."""


class Server(uvicorn.Server):
    """uvicorn, with one line on standard output when ready and an orderly end of streams."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=TimeoutProtocol,
            log_config=None,
            access_log=settings.log_level == "debug",
            timeout_graceful_shutdown=_GRACE_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            server_header=False,
        )
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not uvicorn's own: that raises the signal again after an orderly end, which would look
        # like a crash.
        del sig, frame
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # First, or uvicorn would wait for streams that end with their chats.
        end_streams(self._app)
        await super().shutdown(sockets)
        _log.info("stopped")

    @property
    def url(self) -> str:
        """Where the server listens; the real port when it took a free one."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is there by now stays: a collection that walked through it would hold up every
        # stream.
        gc.freeze()
        if self.started:
            warm_up(self._app)
            # One write: print makes two, and a line of the worker may come between them.
            sys.stdout.write(f"listening on {self.url}\n")
            sys.stdout.flush()
            _log.info("listening", extra={"url": self.url})


def allow_descriptors(limit: int = 65_536) -> None:
    """Raise the limit on open files: each stream is one, and macOS begins with 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def without_query(record: logging.LogRecord) -> bool:
    """Cut what stands behind a path: a key that was sent in the wrong place must not be kept."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            value.partition("?")[0] if isinstance(value, str) else value for value in record.args
        )
    return True
