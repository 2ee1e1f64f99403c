"""One chat's answer over lost connections: resumed from its cursor, stopped by its job id.

Prints nothing.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast

from mlxq.errors import ConnectionLost, NoService, Refused
from mlxq.http_client import Client

Frame = dict[str, Any]

SILENCE_S = 90.0
"""A stream that has been silent for longer than the longest keep-alive is lost."""
PATIENCE_S = 120.0
"""How long to wait for a service that stopped answering."""
_PAUSES_S = (0.2, 0.5, 1.0, 2.0)
_COMES_BACK = ("no_worker", "redis_unavailable", "job_lost")


class Answer:
    """The answer to one chat request; read :meth:`frames` to the end.

    ``lost`` is called when the connection breaks.
    """

    def __init__(
        self, client: Client, body: dict[str, Any], lost: Callable[[], None] = lambda: None
    ) -> None:
        streamed = {"include_usage": True, "include_progress": True}
        options = {"stream_options": streamed, "include_reasoning": True}
        self._client, self._body, self._lost = client, body | options, lost
        # A request whose response was lost is sent again; with one key it creates one job.
        self._key = uuid.uuid4().hex
        self._pause: Callable[[float], object] = time.sleep
        self.job_id = ""
        self.cursor = 0
        self.stopping = False
        self.text, self.reasoning = "", ""
        self.warnings: list[str] = []
        self.end: Frame = {}

    def frames(self) -> Iterator[Frame]:
        """Each frame once, up to the last one.

        Raises Refused, and NoService when the service doesn't come back.
        """
        failures, since = 0, time.monotonic()
        while not self.end:
            try:
                for frame in self._connection():
                    failures, since = 0, time.monotonic()
                    yield frame
                if not self.end:  # The API was shut down; the next one continues.
                    raise ConnectionLost(f"the service at {self._client.url} is restarting")
            except NoService as problem:
                self._raise_unless_temporary(problem, since)
            except Refused as problem:
                if problem.code not in _COMES_BACK or not failures:
                    raise
                self._raise_unless_temporary(problem, since)
            if not self.end:
                if not failures:
                    self._lost()
                self._pause(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
                failures += 1

    def _raise_unless_temporary(self, problem: NoService | Refused, since: float) -> None:
        """Raise a failure that is not worth a retry: no service ever answered, or not for long."""
        begun = self.job_id or isinstance(problem, ConnectionLost)
        if not begun or time.monotonic() - since > PATIENCE_S:
            raise problem

    def _connection(self) -> Iterator[Frame]:
        """The frames of one connection: the first starts the chat, later ones resume."""
        import httpx2

        if self.job_id and self.stopping:
            self._ask_to_stop()
        request: dict[str, Any] = {"json": self._body, "headers": {"Idempotency-Key": self._key}}
        method, path = "POST", "/api/engine/chat"
        if self.job_id:
            method, path = "GET", f"/api/engine/chat/{self.job_id}/events"
            request = {"params": {"after": self.cursor}}
        with self._client.open(method, path, limit_s=SILENCE_S, **request) as response:
            self.job_id = response.headers.get("X-Job-Id", self.job_id)
            if self.stopping:
                self._ask_to_stop()
            if response.status_code == 204:  # Nothing is left to read.
                self.end = {"text": "", "done": True}
                return
            for event in httpx2.EventSource(cast(httpx2.Response, response)):
                if event.data:
                    yield self._read_frame(event.id, event.data)

    def _read_frame(self, cursor: str, data: str) -> Frame:
        try:
            frame: Frame = json.loads(data)
            text, done = str(frame["text"]), bool(frame["done"])
            self.cursor = int(cursor or self.cursor)
        except (ValueError, KeyError, TypeError):
            # Cut off: it is sent again.
            raise ConnectionLost(f"the connection to {self._client.url} was lost") from None
        self.text += text
        self.reasoning += str(frame.get("reasoning") or "")
        if (warning := frame.get("warning")) in self.warnings:
            # Sent before the first token, so again when the stream is resumed from its start.
            del frame["warning"]
        elif warning is not None:
            self.warnings.append(str(warning))
        if done:
            self.end = frame
        return frame

    def stop(self) -> None:
        """Ask the service to end this chat; its last frame comes as usual. Returns at once."""
        self.stopping = True
        if self.job_id:
            threading.Thread(target=self._ask_to_stop, daemon=True).start()

    def stop_now(self) -> None:
        """The same, but wait for the request to be answered."""
        self.stopping = True
        if self.job_id and not self.end:
            self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        # When this fails, the stream breaks as well, and the next connection asks again.
        with contextlib.suppress(NoService, Refused):
            self._client.post("/api/engine/chat/stop", {"job_id": self.job_id}, limit_s=10.0)


@contextlib.contextmanager
def stopped_by_ctrl_c(answer: Answer, on_stop: Callable[[], None]) -> Iterator[None]:
    """Make the first Ctrl-C stop the chat at the service, and the second one end the command."""

    def stop(*_: object) -> None:
        if answer.stopping:
            raise KeyboardInterrupt
        on_stop()
        answer.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
