"""Connections over real sockets: responses before the end of their request, HEAD, idle connections
that are kept."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from api.http import body_limits
from api.server import KEEP_ALIVE_S, Server
from tests.support.api_support import LIMIT_S, announce, wait_for
from tests.support.fake_api import fake_api, fake_redis
from wire.settings import Settings

MANY = 3 << 20


@pytest.fixture
def server() -> Iterator[Server]:
    redis = fake_redis()
    announce(redis)
    settings = Settings(port=0)
    server = Server(fake_api(redis, settings), settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started)
    yield server
    server.should_exit = True
    thread.join()


def connected(server: Server) -> socket.socket:
    connection = socket.create_connection(server.servers[0].sockets[0].getsockname())
    connection.settimeout(LIMIT_S)
    return connection


def head(method: str, path: str, more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode()


def received(connection: socket.socket) -> bytes:
    """All bytes until the connection ends."""
    data = bytearray()
    while piece := connection.recv(1 << 16):
        data += piece
    return bytes(data)


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/nowhere"])
def test_a_client_that_writes_all_of_a_long_body_first_sees_the_answer(
    server: Server, path: str
) -> None:
    with connected(server) as client:
        client.sendall(head("POST", path, f"Content-Length: {MANY}\r\n"))
        for _ in range(MANY >> 16):
            client.sendall(b"x" * 65536)
        assert received(client).split(b" ")[1] in (b"307", b"404")


def test_the_answer_does_not_wait_for_a_body_that_never_comes(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limits, "LINGER_S", 0.5)
    with connected(server) as client:
        client.sendall(head("POST", "/nowhere", f"Content-Length: {MANY}\r\n") + b"x")
        response = received(client)  # the response, and soon the connection's end
        assert response.startswith(b"HTTP/1.1 404")
        assert b"connection: close" in response.lower()


def test_a_body_without_end_is_not_read_without_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limits, "LINGER_S", 0.5)
    sent = 0
    with connected(server) as client:
        client.sendall(head("POST", "/v1/chat/completions/", "Transfer-Encoding: chunked\r\n"))
        try:
            while sent < 1 << 34:
                client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            pass
    assert sent < 1 << 34


def test_a_head_leaves_the_connection_ready_for_the_next_request(server: Server) -> None:
    with connected(server) as client:
        for path in ("/", "/static/base.css", "/v1/models", "/health"):
            client.sendall(head("HEAD", path))
        client.sendall(head("GET", "/health", "Connection: close\r\n"))
        response = received(client)
    assert response.count(b"HTTP/1.1 200 OK") == 5
    assert response.endswith(b'{"status":"ok"}')
    assert response.count(b'{"status":"ok"}') == 1


def test_idle_connections_are_kept_longer_than_the_pools_of_proxies_and_clients_keep_them(
    server: Server,
) -> None:
    # nginx keeps idle connections 60 s, aiohttp 15 s, httpx 5 s; a longer time writes into a closed
    # one.
    assert server.config.timeout_keep_alive == KEEP_ALIVE_S == 75
