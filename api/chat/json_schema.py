"""Schemas and grammars that answers are held to: how requests carry them, and what jobs carry in
their place.

One that no answer can be held to is refused before a job exists, with the reason. Nothing here
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
from wire.schemas.check import Kind, SchemaCheck, Verdict
from wire.schemas.rules import STRICT
from wire.schemas.tree import MOST_LEVELS, levels

ANY_OBJECT: dict[str, Any] = {"type": "object"}
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
_NAMES: dict[Kind, str] = {"new": "schema", "regex": "regular expression", "lark": "grammar"}


def as_text(schema: dict[str, Any], *, strict: bool = False, param: str = _PARAM) -> str:
    """A schema as a request asks for it.

    Raises ApiError for one that is too large or too deep, or isn't JSON.
    """
    if levels(schema) > MOST_LEVELS:
        raise _unreadable(f"it is nested more than {MOST_LEVELS} levels deep", param)
    try:
        text = json.dumps(schema | {STRICT: strict}, allow_nan=False)
    except ValueError:
        raise _unreadable("it holds a number that is none", param) from None
    if "\\ud" in text and not _is_unicode(schema):
        raise _unreadable("half of a surrogate pair in it is not text", param)
    if len(text) > MOST_CHARACTERS:
        raise _unreadable(f"it is longer than {MOST_CHARACTERS} characters", param)
    return text


def _is_unicode(schema: dict[str, Any]) -> bool:
    try:
        json.dumps(schema, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


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
        """What is asked for, with its schema or grammar as a job carries it.

        Raises ApiError ``invalid_schema``.
        """
        guide = _guide(spec)
        if guide is None:
            return spec
        verdict = self.check.known(*guide)
        if verdict is not None:
            return _settled(spec, verdict)
        if self._waiting >= MOST_WAITING:
            raise ApiError("busy", "Too many schemas wait to be read. Try again.", RETRY_S)
        self._waiting += 1
        try:
            verdict = await to_thread.run_sync(
                self._judged, guide, limiter=self._threads, abandon_on_cancel=True
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
            guide = _guide(spec)
            if guide is None:
                return spec
            name = hashlib.sha256("\n".join(guide).encode()).digest()
            if name not in seen and len(seen) >= MOST_IN_AN_UPLOAD:
                raise _refused(spec, f"an upload may have {MOST_IN_AN_UPLOAD} different ones")
            seen.add(name)
            if spent_s > UPLOAD_S and self.check.known(*guide) is None:
                raise _refused(spec, "reading the schemas of this upload takes too long")
            with self._uploads:
                began = time.monotonic()
                verdict = self._judged(guide)
                spent_s += time.monotonic() - began
            return _settled(spec, verdict)

        return settle

    def _judged(self, guide: tuple[Kind, str]) -> Verdict:
        try:
            return self.check.verdict(*guide)
        except OSError:
            raise ApiError("busy", "The schema can't be read now. Try again.", RETRY_S) from None

    def close(self) -> None:
        self.check.close()


def _guide(spec: ChatSpec) -> tuple[Kind, str] | None:
    """What the answer is held to: its kind and its text."""
    grammar = spec.form.grammar
    if grammar is not None:
        return grammar.kind, grammar.text
    return None if spec.form.json_schema is None else ("new", spec.form.json_schema)


def _settled(spec: ChatSpec, verdict: Verdict) -> ChatSpec:
    if verdict.reason:
        raise _refused(spec, verdict.reason)
    grammar = spec.form.grammar
    if grammar is None:
        changes: dict[str, Any] = {"json_schema": verdict.text}
    else:
        changes = {"grammar": grammar.model_copy(update={"text": verdict.text})}
    return replace(spec, form=spec.form.model_copy(update=changes))


def _refused(spec: ChatSpec, reason: str) -> ApiError:
    guide = _guide(spec)
    param = "tools" if spec.form.must_call or spec.form.holds_calls else spec.held_by
    return _unreadable(reason, param, _NAMES[guide[0]] if guide else "schema")


def _unreadable(reason: str, param: str, what: str = "schema") -> ApiError:
    sentence = f"Answers can't be held to this {what}: {reason}."
    return ApiError("invalid_schema", sentence, param=param)
