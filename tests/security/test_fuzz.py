"""Generated requests, right and wrong ones: every answer is one that the API's description has, and
none is a fault.

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
    """A service that fails on the one route that it describes."""

    def do_GET(self) -> None:
        found = {"/openapi.json": (200, LYING), "/models": (200, b"[]")}
        status, body = found.get(self.path, (500, b"[]"))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a test's output is its own."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(SERVE, tmp_path_factory.mktemp("fuzz"), limit_s=300, **SETTINGS)
    yield running
    running.close()


def test_every_answer_to_generated_requests_is_one_that_the_description_has(
    service: Running,
) -> None:
    url = service.line("Ready: ").removeprefix("Ready: ")
    with Fuzz(url, seed=1) as fuzz:
        seen = fuzz.run(CASES)
    assert not seen.failures, "\n\n".join(seen.failures.values())
    assert seen.cases == CASES
    assert {200, 400, 404, 422} <= set(seen.statuses())


def test_a_fault_and_an_answer_that_is_not_described_are_told() -> None:
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
