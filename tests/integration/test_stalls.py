"""A client that reads nothing is disconnected in the end, a slow one isn't; over real sockets."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from api.http import slow_clients
from api.http.slow_clients import TimeoutProtocol
from api.server import allow_descriptors
from tests.support.api_support import LIMIT_S, wait_for

PIECE = b"x" * 65536
STALL_S = 0.5
PROMISED = (slow_clients.HEADERS_S, slow_clients.BODY_S)


class Flood:
    """Sends pieces to each client without end; counts them, and the clients that have gone."""

    def __init__(self) -> None:
        self.sent = 0
        self.gone = 0
        self.begun = 0

    @property
    def open(self) -> int:
        return self.begun - self.gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        self.begun += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        leaving = asyncio.create_task(_disconnected(receive))
        while not leaving.done():
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            self.sent += 1
            await asyncio.sleep(0)
        self.gone += 1


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.fixture
def flood(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Flood, Callable[[], socket.socket]]]:
    monkeypatch.setattr(slow_clients, "STALL_S", STALL_S)
    app = Flood()
    config = uvicorn.Config(
        app,
        port=0,
        http=TimeoutProtocol,
        loop="uvloop",
        lifespan="off",
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started)
    clients: list[socket.socket] = []

    def client() -> socket.socket:
        clients.append(socket.create_connection(server.servers[0].sockets[0].getsockname()))
        clients[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return clients[-1]

    yield app, client
    for one in clients:
        one.close()
    server.should_exit = True
    thread.join()


def test_a_client_that_takes_nothing_is_cut(
    flood: tuple[Flood, Callable[[], socket.socket]],
) -> None:
    app, client = flood
    stalled = client()
    wait_for(lambda: app.gone == 1)
    stalled.settimeout(LIMIT_S)
    while stalled.recv(1 << 20):  # What the kernel had buffered for it, and the end.
        pass


def test_a_client_that_goes_on_reading_is_not(
    flood: tuple[Flood, Callable[[], socket.socket]],
) -> None:
    _, client = flood
    for _ in range(20):
        with client() as reading:
            cut, pause = read_on(reading, 2000 * len(PIECE))
        if pause < STALL_S / 2:
            break  # Else a busy machine has let it stall, and the next one is to be read.
    assert not cut


def read_on(reading: socket.socket, most: int) -> tuple[bool, float]:
    """Read so many bytes; returns whether the connection ended before, and the longest time between
    two pieces, seconds."""
    count, longest, before = 0, 0.0, time.monotonic()
    while count < most:
        size = len(reading.recv(1 << 16))
        now = time.monotonic()
        longest, before = max(longest, now - before), now
        if not size:
            return True, longest
        count += size
    return False, longest


HALVES = (b"", b"GET / HTTP/1.1\r\nHos", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx",
          b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")  # fmt: skip


def test_heads_and_bodies_get_the_time_that_is_promised() -> None:
    assert PROMISED == (10, 60)


def test_five_hundred_half_sent_requests_are_cut(
    flood: tuple[Flood, Callable[[], socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, client = flood
    allow_descriptors()  # This process holds both ends.
    address = client().getpeername()
    with monkeypatch.context() as short, selectors.DefaultSelector() as open_ones:
        short.setattr(slow_clients, "HEADERS_S", 0.3)
        short.setattr(slow_clients, "BODY_S", 0.3)
        for number in range(500):
            slow = socket.create_connection(address)
            with suppress(OSError):  # On a busy machine it may have been cut already.
                slow.sendall(HALVES[number % len(HALVES)])
            open_ones.register(slow, selectors.EVENT_READ)
        while open_ones.get_map():
            ready = open_ones.select(LIMIT_S)
            assert ready, f"{len(open_ones.get_map())} connections are still open"
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                if _is_over(key.fileobj):
                    open_ones.unregister(key.fileobj)
                    key.fileobj.close()
    # None of their requests goes on, nor that of the client which read nothing; the next client
    # is served.
    wait_for(lambda: app.begun > 0 and app.open == 0)
    assert client().recv(1 << 16)


def _is_over(half: socket.socket) -> bool:
    """Whether the connection was closed; reads what the application answered to half a body."""
    try:
        return not half.recv(1 << 20)
    except ConnectionResetError:
        return True
