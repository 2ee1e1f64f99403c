"""Cases made from the API's description: each is sent to a running service, its answer held against
the description.

Judged is every answer of every described route: no fault of the server (a 503 that says when to try
again is honest), and a status, a content type and a body that the description has. No route and no
check is left out. One answer has no end, the stream of the status: of it the first event is read.
Knows HTTP alone.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
ENDLESS = "/api/engine/status/events"
LIMIT_S = 60.0
SOUND: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Say something."}],
    "prompt": "Say something.",
    "prompts": ["Say something.", "Say more."],
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "metadata": {"asked": "soundly"},
}
ROUND = 40
"""Cases of one route before the next route has its turn."""
_MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
_REMEMBERED = 50


@dataclass
class Seen:
    """What has come of a run. Failures of one kind on one route are told once, with the first
    case."""

    cases: int = 0
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: dict[tuple[str, str, int], str] = field(default_factory=dict)
    failed: int = 0

    def statuses(self) -> dict[int, int]:
        """How many answers had which status."""
        total: Counter[int] = Counter()
        for (_, status), count in self.answers.items():
            total[status] += count
        return dict(sorted(total.items()))


class Fuzz:
    """Cases for the service at ``url``, the same ones for the same seed."""

    def __init__(self, url: str, seed: int) -> None:
        self.seen = Seen()
        self._url, self._seed = url, seed
        self._session = requests.Session()
        described = schemathesis.openapi.from_url(f"{url}/openapi.json")
        self._routes = [found.ok() for found in described.get_all_operations()]
        self._models = [row["id"] for row in self._session.get(f"{url}/models").json()]
        self._ids: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
        """By what they are of: jobs, or the route that made them."""
        self._ids["/v1/models"].extend(self._models)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def run(self, cases: int) -> Seen:
        """Send so many, in turns: to each route as many right as wrong ones, as long as there
        are others."""
        open_ended = {(route.label, mode): route for route in self._routes for mode in _MODES}
        for turn in range(cases):
            share = max(1, min(ROUND, (cases - self.seen.cases) // max(1, len(open_ended))))
            for (label, mode), route in list(open_ended.items()):
                if self.seen.cases >= cases:
                    return self.seen
                if self._some(route, mode, share, self._seed + turn) < share:
                    del open_ended[label, mode]
        return self.seen

    def _some(self, route: Any, mode: GenerationMode, wanted: int, seed: int) -> int:
        """Send cases of one route; how many were made: fewer than wanted if there are no others."""
        before = self.seen.cases
        choices = 3 * _REMEMBERED if route.body or next(route.iter_parameters(), None) else 0

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=wanted,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(
            case=route.as_strategy(generation_mode=mode), choice=st.integers(0, choices)
        )
        def send(case: Any, choice: int) -> None:
            self._send(self._aimed(case, choice))

        # A route that takes nothing can't be sent anything wrong.
        with contextlib.suppress(hypothesis.errors.Unsatisfiable):
            send()
        return self.seen.cases - before

    def _aimed(self, case: Any, choice: int) -> Any:
        """Of three cases two name a model and an id that exist, and one of these asks something
        sound.

        Chance would never get past them to what lies behind.
        """
        if choice % 3 == 0:
            return case
        if isinstance(case.body, dict):
            if choice % 3 == 1:
                case.body |= {name: sound for name, sound in SOUND.items() if name in case.body}
            for name in {"model", "model_id"} & set(case.body):
                case.body[name] = self._models[choice % len(self._models)]
            if "input_file_id" in case.body and (files := self._ids["/v1/files"]):
                case.body["input_file_id"] = files[choice % len(files)]
        for name in case.path_parameters or {}:
            known = self._ids[
                "jobs" if name == "job_id" else case.operation.path.partition("/{")[0]
            ]
            if known:
                case.path_parameters[name] = known[choice % len(known)]
        return case

    def _send(self, case: Any) -> None:
        self.seen.cases += 1
        route = case.operation.label
        asked = case.as_transport_kwargs(base_url=self._url)
        try:
            with self._session.request(**asked, stream=True, timeout=LIMIT_S) as answer:
                # Where requests looks for a body that was read before.
                answer._content = b"".join(_body(answer, endless=case.operation.path == ENDLESS))
        except (requests.RequestException, TimeoutError) as error:
            self._failed(route, type(error).__name__, 0, f"{case.as_curl_command()}\n{error}")
            return
        self.seen.answers[route, answer.status_code] += 1
        self._remember(case, answer)
        self._judge(case, answer)

    def _judge(self, case: Any, answer: requests.Response) -> None:
        honest = answer.status_code == 503 and "Retry-After" in answer.headers
        try:
            case.validate_response(answer, checks=CHECKS[honest:])
        except (Failure, FailureGroup) as error:
            for one in getattr(error, "exceptions", [error]):
                self._failed(
                    case.operation.label, type(one).__name__, answer.status_code, str(error)
                )

    def _failed(self, route: str, kind: str, status: int, text: str) -> None:
        self.seen.failed += 1
        self.seen.failures.setdefault((route, kind, status), text)

    def _remember(self, case: Any, answer: requests.Response) -> None:
        """Ids that later cases may ask for; not those of what was deleted."""
        if answer.ok and case.operation.method.upper() == "DELETE":
            known = self._ids[case.operation.path.partition("/{")[0]]
            for gone in set(case.path_parameters.values()) & set(known):
                known.remove(gone)
        if job_id := answer.headers.get("X-Job-Id"):
            self._ids["jobs"].append(job_id)
        if (
            answer.ok
            and answer.request.method == "POST"
            and "json" in answer.headers.get("Content-Type", "")
        ):
            told = answer.json()
            if isinstance(told, dict) and isinstance(told.get("id"), str):
                self._ids[case.operation.path].append(told["id"])


def _body(answer: requests.Response, *, endless: bool) -> Iterator[bytes]:
    """The body as it comes; of an endless one no more than its first event. Raises TimeoutError."""
    until = time.monotonic() + LIMIT_S
    for chunk in answer.iter_content(None):
        yield chunk
        if endless and answer.ok and b"\n\n" in chunk:
            return
        if time.monotonic() > until:
            raise TimeoutError(f"the answer did not end within {LIMIT_S:g} s")
