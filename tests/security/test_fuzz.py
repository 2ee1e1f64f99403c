"""Generated requests, valid and invalid: every response is one that the OpenAPI schema describes,
and none is a server error.

The short form of ``scripts/fuzz``, always with the same cases.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.security.fuzz.__main__ import SETTINGS
from tests.security.fuzz.cases import Fuzz
from tests.support.service_support import SERVE, Running

CASES = 220
LYING = b"""{"openapi": "3.1.0", "info": {"title": "", "version": ""}, "paths": {"/health": {"get": {"responses": {
"200": {"description": "", "content": {"application/json": {"schema": {"type": "object"}}}}}}}}}"""


class Lying(BaseHTTPRequestHandler):
    """A service whose only described route always fails."""

    def do_GET(self) -> None:
        answers = {"/openapi.json": (200, LYING), "/models": (200, b"[]")}
        status, body = answers.get(self.path, (500, b"[]"))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent, to keep the output of the test clean."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(SERVE, tmp_path_factory.mktemp("fuzz"), **SETTINGS)
    yield running
    running.close()


def test_every_response_to_generated_requests_is_described(
    service: Running,
) -> None:
    url = service.line("Ready: ").removeprefix("Ready: ")
    with Fuzz(url, seed=1) as fuzz:
        seen = fuzz.run(CASES)
    assert not seen.failures, "\n\n".join(seen.failures.values())
    assert seen.cases == CASES
    assert {200, 400, 404, 422} <= set(seen.statuses())


def test_a_server_error_and_an_undescribed_status_are_reported() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Lying) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            with Fuzz(f"http://127.0.0.1:{server.server_port}", seed=1) as fuzz:
                seen = fuzz.run(3)
        finally:
            server.shutdown()
            serving.join()
    assert {kind for _, kind, _ in seen.failures} >= {"ServerError", "UndefinedStatusCode"}
