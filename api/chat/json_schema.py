"""Schemas that answers are held to: how requests carry them, and what jobs carry in their place.

A schema that no answer can be held to is refused before a job exists, with the reason. Nothing here
reads one: a process of its own does (``wire.schemas.check``). Knows no models.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from anyio import CapacityLimiter, to_thread

from api.chat.request import ChatSpec
from api.errors import ApiError
from wire.schemas.check import SchemaCheck, Verdict
from wire.schemas.rules import STRICT

MOST_CHARACTERS = 64 << 10
CHILDREN = 2
"""Processes for requests; uploads have one more between them, so that no chat waits for one."""
MOST_IN_AN_UPLOAD = 1_000
"""Different schemas of one upload; a usual one takes some milliseconds."""
UPLOAD_S = 30.0
"""What reading the schemas of one upload may take in all."""
MOST_WAITING = 64
"""Requests whose schemas wait to be read; a costly one takes two seconds."""
RETRY_S = 5
_PARAM = "response_format"


def as_text(schema: dict[str, Any], *, strict: bool = False) -> str:
    """A schema as a request asks for it.

    Raises ApiError for one that is too large or isn't JSON.
    """
    try:
        text = json.dumps(schema | {STRICT: strict}, allow_nan=False)
    except ValueError:
        raise _refused("it holds a number that is none") from None
    if len(text) > MOST_CHARACTERS:
        raise _refused(f"it is longer than {MOST_CHARACTERS} characters")
    return text


class Schemas:
    """Settles the schemas of requests: a job carries what its worker can hold the answer to."""

    def __init__(self) -> None:
        self.check = SchemaCheck()
        # A thread for each process, which waits for it.
        self._threads = CapacityLimiter(CHILDREN)
        self._uploads = threading.Semaphore(1)
        self._waiting = 0

    def warm_up(self) -> None:
        """Start a process, so that the first schema doesn't wait for its second of imports."""
        with contextlib.suppress(OSError):  # Who needs it will hear of it.
            self.check.warm_up()

    async def settle(self, spec: ChatSpec) -> ChatSpec:
        """What is asked for, with its schema as a job carries it.

        Raises ApiError ``invalid_schema``.
        """
        schema = spec.form.json_schema
        if schema is None:
            return spec
        verdict = self.check.known(schema)
        if verdict is not None:
            return _settled(spec, verdict)
        if self._waiting >= MOST_WAITING:
            raise ApiError("busy", "Too many schemas wait to be read. Try again.", RETRY_S)
        self._waiting += 1
        try:
            verdict = await to_thread.run_sync(
                self._judged, schema, limiter=self._threads, abandon_on_cancel=True
            )
        finally:
            self._waiting -= 1
        return _settled(spec, verdict)

    def for_upload(self) -> Callable[[ChatSpec], ChatSpec]:
        """The same for the lines of one upload, whose schemas are bounded in number and time.

        Blocking, for threads.
        """
        seen: set[bytes] = set()
        spent_s = 0.0

        def settle(spec: ChatSpec) -> ChatSpec:
            nonlocal spent_s
            schema = spec.form.json_schema
            if schema is None:
                return spec
            name = hashlib.sha256(schema.encode()).digest()
            if name not in seen and len(seen) >= MOST_IN_AN_UPLOAD:
                raise _refused(
                    f"an upload may have {MOST_IN_AN_UPLOAD} different ones", _param(spec)
                )
            seen.add(name)
            if spent_s > UPLOAD_S and self.check.known(schema) is None:
                raise _refused("reading the schemas of this upload takes too long", _param(spec))
            with self._uploads:
                began = time.monotonic()
                verdict = self._judged(schema)
                spent_s += time.monotonic() - began
            return _settled(spec, verdict)

        return settle

    def _judged(self, schema: str) -> Verdict:
        try:
            return self.check.new(schema)
        except OSError:
            raise ApiError("busy", "The schema can't be read now. Try again.", RETRY_S) from None

    def close(self) -> None:
        self.check.close()


def _settled(spec: ChatSpec, verdict: Verdict) -> ChatSpec:
    if verdict.reason:
        raise _refused(verdict.reason, _param(spec))
    return replace(spec, form=spec.form.model_copy(update={"json_schema": verdict.text}))


def _param(spec: ChatSpec) -> str:
    return "tools" if spec.form.must_call else _PARAM


def _refused(reason: str, param: str = _PARAM) -> ApiError:
    return ApiError(
        "invalid_schema", f"Answers can't be held to this schema: {reason}.", param=param
    )
