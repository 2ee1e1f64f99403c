"""One run of ``mlxq batch``: sends prompts without a result, or resumes the running batch.

Whatever ends this process, the batch keeps running, and the same command resumes it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxq.commands.batch_files import Prompt, Results, Ticket, upload
from mlxq.errors import ConnectionLost, NoService, Problem, Refused
from mlxq.http_client import Client

View = dict[str, Any]

ROUTE = "/api/engine/batches"
BATCH_FIELDS = (
    "id",
    "status",
    "model_id",
    "counts",
    "tokens_per_second",
    "seconds_left",
    "created_at",
)
"""What commands read of a batch."""
ENDED = ("completed", "cancelled", "expired")
POLL_S = 0.5
PATIENCE_S = 120.0
"""How long to wait for a service that stopped answering."""
UPLOAD_S = 600.0
_PORTIONS = 10
"""The service sends all results each time: they are fetched at every tenth of them."""
_AWAY = ("redis_unavailable", "no_worker", "internal_error")


@dataclass
class Run:
    """The prompts of a file and their results; ``show`` is called with each state of the batch.

    ``not_before`` is when what is sent begins, as the service reads it.
    """

    client: Client
    path: Path
    prompts: Sequence[Prompt]
    results: Results
    ticket: Ticket
    model: Callable[[], str]
    show: Callable[[View], None]
    not_before: str | None = None
    batch_id: str | None = None
    leaving: bool = False
    _sent: Sequence[str] = ()

    def to_the_end(self) -> View | None:
        """Follow batches until every prompt has a result or a batch ends early; its last state."""
        self.batch_id = self.ticket.read(self.client.url)
        view = None
        while self.batch_id is not None or self._send():
            assert self.batch_id is not None
            resumed, before = view is None, len(self.results.finished)
            view = self._follow(self.batch_id)
            self.ticket.remove()
            self.batch_id = None
            if view is None:
                # It expired, or Redis lost it: prompts without a result are sent again.
                continue
            idle = not resumed and len(self.results.finished) == before
            if view["status"] != "completed" or idle:
                return view
        return view

    def cancel(self) -> View | None:
        """Ask the service to end the batch, and follow it to that end. None when there is none."""
        self.batch_id = self.ticket.read(self.client.url)
        if self.batch_id is None:
            return None
        with contextlib.suppress(Refused):
            self.client.post(f"{ROUTE}/{self.batch_id}/cancel")
        view = self._follow(self.batch_id)
        self.ticket.remove()
        return view

    def _send(self) -> bool:
        """Send the prompts without a result; False when there are none."""
        self.results.add(prompt.failure() for prompt in self.prompts if not prompt.sendable)
        missing = [
            prompt for prompt in self.prompts if prompt.custom_id not in self.results.finished
        ]
        if not missing:
            return False
        self._sent = [prompt.custom_id for prompt in missing]
        asked = {} if all(prompt.has_model for prompt in missing) else {"model_id": self.model()}
        if self.not_before is not None:
            asked["not_before"] = self.not_before
        view = self.client.post(
            ROUTE,
            limit_s=UPLOAD_S,
            params=asked,
            content=upload(self.path, missing),
            headers={"Content-Type": "application/jsonl"},
        )
        self.batch_id = str(view["id"])
        self.ticket.write(self.client.url, self.batch_id)
        return True

    def _follow(self, batch_id: str) -> View | None:
        """Follow a batch to its end and fetch its results; None for one unknown to the service.

        After Ctrl-C it fetches the results so far and raises KeyboardInterrupt, so that no line is
        cut.
        """
        with self._noticing_ctrl_c():
            return self._watch(batch_id)

    def _watch(self, batch_id: str) -> View | None:
        fetched, since = 0, time.monotonic()
        while not self.leaving:
            try:
                view: View = self.client.get(f"{ROUTE}/{batch_id}")
                self.show(view)
                counts, ended = view["counts"], view["status"] in ENDED
                there = counts["done"] + counts["failed"]
                if ended or there - fetched >= max(1, counts["total"] // _PORTIONS):
                    self.results.add(self._results(batch_id))
                    fetched = there
                if ended:
                    return view
                since = time.monotonic()
            except Refused as refused:
                if refused.code == "batch_not_found":
                    return None
                self._raise_unless_temporary(refused, since, refused.code in _AWAY)
            except NoService as problem:
                self._raise_unless_temporary(problem, since, True)
            time.sleep(POLL_S)
        with contextlib.suppress(Problem):
            self.results.add(self._results(batch_id))
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def _noticing_ctrl_c(self) -> Iterator[None]:
        def leave(*_: object) -> None:
            if self.leaving:
                raise KeyboardInterrupt
            self.leaving = True

        before = signal.signal(signal.SIGINT, leave)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _raise_unless_temporary(self, problem: Problem, since: float, temporary: bool) -> None:
        if not temporary or time.monotonic() - since > PATIENCE_S:
            raise problem

    def _results(self, batch_id: str) -> Iterator[dict[str, Any]]:
        with self.client.open("GET", f"{ROUTE}/{batch_id}/results") as response:
            for line in response.iter_lines():
                try:
                    row: dict[str, Any] = json.loads(line)
                except ValueError:
                    raise ConnectionLost(f"the connection to {self.client.url} was lost") from None
                yield self._named(row)

    def _named(self, row: dict[str, Any]) -> dict[str, Any]:
        """A result with its prompt's id, which the service can't know of an unreadable line."""
        number = row.get("line", 0)
        if row["custom_id"] is None and 0 < number <= len(self._sent):
            return row | {"custom_id": self._sent[number - 1]}
        return row
