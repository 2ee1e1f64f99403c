"""Batches of this service, as its clients make them."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing
from typing import Any

from scripts.benchmarks.systems.plan import BenchError

PATH = "/api/engine/batches"
EVERY_S = 0.05
View = dict[str, Any]


class Batches:
    """Blocks its thread. Raises BenchError for what the service refuses."""

    def __init__(self, port: int) -> None:
        self._port = port

    def upload(self, lines: bytes, model: str) -> str:
        """A new batch of JSON Lines; its id."""
        return str(self._call("POST", f"{PATH}?model_id={model}", lines)["id"])

    def view(self, batch: str) -> View:
        """The state of a batch."""
        return self._call("GET", f"{PATH}/{batch}")

    def cancel(self, batch: str) -> None:
        """Have a batch end."""
        self._call("POST", f"{PATH}/{batch}/cancel")

    def until_ended(self, batch: str, limit_s: float, status: str = "completed") -> View:
        """Wait for a batch's end. Raises BenchError for another one, and after so many seconds."""
        until = time.monotonic() + limit_s
        while (view := self.view(batch))["ended_at"] is None:
            if time.monotonic() > until:
                raise BenchError("a batch did not end")
            time.sleep(EVERY_S)
        if view["status"] != status or view["counts"]["failed"]:
            raise BenchError(f"a batch ended otherwise: {view}")
        return view

    def _call(self, method: str, path: str, body: bytes | None = None) -> View:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
            headers = {} if body is None else {"Content-Type": "application/jsonl"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            view: View = json.loads(answer.read())
            if answer.status != 200:
                raise BenchError(f"the service refused a batch: {view}")
            return view
