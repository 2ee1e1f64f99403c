"""A client that takes nothing is cut in the end, one that is only slow isn't; over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from api import stalls
from api.stalls import StallingClientsAreCut
from tests.api_support import wait_for

PIECE = b"x" * 65536


class Flood:
    """Sends pieces to each client without end; counts them, and the clients that have gone."""

    def __init__(self) -> None:
        self.sent = 0
        self.gone = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
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
    monkeypatch.setattr(stalls, "STALL_S", 0.5)
    monkeypatch.setattr(stalls, "HEADERS_S", 0.3)
    monkeypatch.setattr(stalls, "BODY_S", 0.3)
    app = Flood()
    config = uvicorn.Config(
        app,
        port=0,
        http=StallingClientsAreCut,
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


def test_a_client_that_takes_nothing_is_cut(flood: tuple[Flood, Callable[[], socket.socket]]) -> None:
    app, client = flood
    stalled = client()
    wait_for(lambda: app.gone == 1, 20)
    stalled.settimeout(20)
    while stalled.recv(1 << 20):  # What the system had taken for it, and the end.
        pass


def test_a_client_that_goes_on_reading_is_not(flood: tuple[Flood, Callable[[], socket.socket]]) -> None:
    app, client = flood
    reading = client()
    while app.sent < 2000:
        assert reading.recv(1 << 16)
    assert app.gone == 0


@pytest.mark.parametrize(
    "half", [b"", b"GET / HTTP/1.1\r\nHos", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"]
)
def test_a_half_sent_request_is_cut(flood: tuple[Flood, Callable[[], socket.socket]], half: bytes) -> None:
    _, client = flood
    address = client().getpeername()
    with socket.create_connection(address, timeout=20) as slow:
        slow.sendall(half)
        try:
            while slow.recv(1 << 20):
                pass
        except ConnectionResetError:
            pass
