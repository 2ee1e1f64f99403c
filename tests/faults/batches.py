"""A client of batches for fault tests: uploads prompts whose answers are known, polls, and checks
the results."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from worker.backends.echo import answer

PATH = "/api/engine/batches"


def prompts(name: str, count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"custom_id": f"{name}-{n}", "prompt": f"{name} {n}", "seed": n, **more}
        for n in range(count)
    ]


class Batch:
    """One batch at an API process on ``port``."""

    def __init__(self, port: int, rows: Sequence[Mapping[str, Any]]) -> None:
        self._port = port
        self._rows = {row["custom_id"]: row for row in rows}
        body = "".join(json.dumps(row) + "\n" for row in rows).encode()
        status, raw = self._call("POST", f"{PATH}?model_id=echo", body)
        assert status == 200, raw
        self.id = json.loads(raw)["id"]

    def _call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
            headers = {} if body is None else {"Content-Type": "application/jsonl"}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()

    def state(self) -> dict[str, Any]:
        status, raw = self._call("GET", f"{PATH}/{self.id}")
        assert status == 200, raw
        view: dict[str, Any] = json.loads(raw)
        return view

    def done(self) -> int:
        counts = self.state()["counts"]
        return int(counts["done"] + counts["failed"])

    def ended(self) -> bool:
        return self.state()["ended_at"] is not None

    def cancel(self) -> None:
        assert self._call("POST", f"{PATH}/{self.id}/cancel")[0] == 200

    def results(self) -> list[dict[str, Any]]:
        status, raw = self._call("GET", f"{PATH}/{self.id}/results")
        assert status == 200, raw
        return [json.loads(row) for row in raw.splitlines()]

    def wrong(self, failed: Mapping[str, str] | None = None) -> list[str]:
        """What is wrong with the results so far: a repeated line, a wrong text, an error that isn't
        expected by ``failed``."""
        rows, expected = self.results(), failed or {}
        twice = Counter(row["custom_id"] for row in rows)
        found = [f"{name} came {times} times" for name, times in twice.items() if times != 1]
        for row in rows:
            name = row["custom_id"]
            code = row.get("error", {}).get("code")
            asked = self._rows[name]
            right = (
                answer(asked["prompt"], asked["seed"], asked["max_tokens"])
                if code is None
                else None
            )
            if code != expected.get(name) or row.get("text") != right:
                found.append(f"{name}: {code or row.get('text', '')[:80]}")
        return found

    def missing(self) -> set[str]:
        return set(self._rows) - {row["custom_id"] for row in self.results()}
