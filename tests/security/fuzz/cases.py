"""Requests generated from the OpenAPI schema: each is sent to a running service and its response
checked against the schema.

Checked is every response of every route: no server error (except a 503 with Retry-After), and a
status, a content type and a body that the schema describes. One response has no end, the status
stream: its first event is read. Knows HTTP alone.
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
VALID: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Say something."}],
    "prompt": "Say something.",
    "prompts": ["Say something.", "Say more."],
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "metadata": {"sent": "by the fuzzer"},
}
ROUND = 40
"""Cases of one route before the next route follows."""
_MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
_REMEMBERED = 50


@dataclass
class Seen:
    """The results of a run. Of the failures of one kind on one route the first case is kept."""

    cases: int = 0
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: dict[tuple[str, str, int], str] = field(default_factory=dict)
    failed: int = 0

    def statuses(self) -> dict[int, int]:
        """The number of responses by status."""
        total: Counter[int] = Counter()
        for (_, status), count in self.answers.items():
            total[status] += count
        return dict(sorted(total.items()))


class Fuzz:
    """Sends cases to the service at ``url``, the same cases for the same seed."""

    def __init__(self, url: str, seed: int) -> None:
        self.seen = Seen()
        self._url, self._seed = url, seed
        self._session = requests.Session()
        whole = schemathesis.openapi.from_url(f"{url}/openapi.json")
        # The first key that was added would lock the other requests out.
        schema = whole.exclude(path="/api/engine/keys", method="POST")
        self._routes = [operation.ok() for operation in schema.get_all_operations()]
        self._models = [row["id"] for row in self._session.get(f"{url}/models").json()]
        self._ids: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
        """Ids of jobs, and of what a route created, by that route."""
        self._ids["/v1/models"].extend(self._models)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def run(self, cases: int) -> Seen:
        """Send this many, round-robin over routes, half of them valid, while there are new ones."""
        open_ended = {(route.label, mode): route for route in self._routes for mode in _MODES}
        for turn in range(cases):
            share = max(1, min(ROUND, (cases - self.seen.cases) // max(1, len(open_ended))))
            for (label, mode), route in list(open_ended.items()):
                if self.seen.cases >= cases:
                    return self.seen
                if self._send_some(route, mode, share, self._seed + turn) < share:
                    del open_ended[label, mode]
        return self.seen

    def _send_some(self, route: Any, mode: GenerationMode, most: int, seed: int) -> int:
        """Send up to ``most`` cases of one route; returns how many there were."""
        before = self.seen.cases
        choices = 3 * _REMEMBERED if route.body or next(route.iter_parameters(), None) else 0

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=most,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(
            case=route.as_strategy(generation_mode=mode), choice=st.integers(0, choices)
        )
        def send(case: Any, choice: int) -> None:
            self._send(self._with_known_ids(case, choice))

        # A route without parameters and body has no invalid case.
        with contextlib.suppress(hypothesis.errors.Unsatisfiable):
            send()
        return self.seen.cases - before

    def _with_known_ids(self, case: Any, choice: int) -> Any:
        """Two of three cases get a model and ids that exist, and one of these valid fields as well.

        Random values alone would never get past the checks of ids and models.
        """
        if choice % 3 == 0:
            return case
        if isinstance(case.body, dict):
            if choice % 3 == 1:
                case.body |= {name: value for name, value in VALID.items() if name in case.body}
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
                # requests takes a body that was read already from here.
                answer._content = b"".join(_body(answer, endless=case.operation.path == ENDLESS))
        except (requests.RequestException, TimeoutError) as error:
            self._failed(route, type(error).__name__, 0, f"{case.as_curl_command()}\n{error}")
            return
        self.seen.answers[route, answer.status_code] += 1
        self._remember(case, answer)
        self._check(case, answer)

    def _check(self, case: Any, answer: requests.Response) -> None:
        retryable = answer.status_code == 503 and "Retry-After" in answer.headers
        try:
            case.validate_response(answer, checks=CHECKS[retryable:])
        except (Failure, FailureGroup) as error:
            for one in getattr(error, "exceptions", [error]):
                self._failed(
                    case.operation.label, type(one).__name__, answer.status_code, str(error)
                )

    def _failed(self, route: str, kind: str, status: int, text: str) -> None:
        self.seen.failed += 1
        self.seen.failures.setdefault((route, kind, status), text)

    def _remember(self, case: Any, answer: requests.Response) -> None:
        """Keep ids for later cases, without those of what was deleted."""
        if answer.ok and case.operation.method.upper() == "DELETE":
            known = self._ids[case.operation.path.partition("/{")[0]]
            for deleted in set(case.path_parameters.values()) & set(known):
                known.remove(deleted)
        if job_id := answer.headers.get("X-Job-Id"):
            self._ids["jobs"].append(job_id)
        if (
            answer.ok
            and answer.request.method == "POST"
            and "json" in answer.headers.get("Content-Type", "")
        ):
            record = answer.json()
            if isinstance(record, dict) and isinstance(record.get("id"), str):
                self._ids[case.operation.path].append(record["id"])


def _body(answer: requests.Response, *, endless: bool) -> Iterator[bytes]:
    """The body as it arrives; of the endless stream the first event. Raises TimeoutError."""
    until = time.monotonic() + LIMIT_S
    for chunk in answer.iter_content(None):
        yield chunk
        if endless and answer.ok and b"\n\n" in chunk:
            return
        if time.monotonic() > until:
            raise TimeoutError(f"the answer did not end within {LIMIT_S:g} s")
