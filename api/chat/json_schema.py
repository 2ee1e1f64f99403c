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
from typing import Any, NamedTuple

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


class _Guide(NamedTuple):
    """A schema or a grammar: the field of a job's form that has it, its kind and text, and the
    request's field that asks for it."""

    field: str
    kind: Kind
    text: str
    param: str

    def refused(self, reason: str) -> ApiError:
        return _unreadable(reason, self.param, _NAMES[self.kind])


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
        for guide in _guides(spec):
            verdict = self.check.known(guide.kind, guide.text)
            if verdict is None:
                verdict = await self._awaited(guide)
            spec = _settled(spec, guide, verdict)
        return spec

    async def _awaited(self, guide: _Guide) -> Verdict:
        if self._waiting >= MOST_WAITING:
            raise ApiError("busy", "Too many schemas wait to be read. Try again.", RETRY_S)
        self._waiting += 1
        try:
            return await to_thread.run_sync(
                self._judged, guide, limiter=self._threads, abandon_on_cancel=True
            )
        finally:
            self._waiting -= 1

    def for_upload(self) -> Callable[[ChatSpec], ChatSpec]:
        """The same for the lines of one upload, whose schemas are bounded in number and time.

        Blocking, for threads.
        """
        seen: set[bytes] = set()
        spent_s = 0.0

        def settle(spec: ChatSpec) -> ChatSpec:
            for guide in _guides(spec):
                spec = _settled(spec, guide, judged(guide))
            return spec

        def judged(guide: _Guide) -> Verdict:
            nonlocal spent_s
            name = hashlib.sha256(f"{guide.kind}\n{guide.text}".encode()).digest()
            if name not in seen and len(seen) >= MOST_IN_AN_UPLOAD:
                raise guide.refused(f"an upload may have {MOST_IN_AN_UPLOAD} different ones")
            seen.add(name)
            if spent_s > UPLOAD_S and self.check.known(guide.kind, guide.text) is None:
                raise guide.refused("reading the schemas of this upload takes too long")
            with self._uploads:
                began = time.monotonic()
                verdict = self._judged(guide)
                spent_s += time.monotonic() - began
            return verdict

        return settle

    def _judged(self, guide: _Guide) -> Verdict:
        try:
            return self.check.verdict(guide.kind, guide.text)
        except OSError:
            raise ApiError("busy", "The schema can't be read now. Try again.", RETRY_S) from None

    def close(self) -> None:
        self.check.close()


def _guides(spec: ChatSpec) -> list[_Guide]:
    """What an answer is held to, and its calls."""
    form, found = spec.form, list[_Guide]()
    if form.grammar is not None:
        found.append(_Guide("grammar", form.grammar.kind, form.grammar.text, spec.held_by))
    elif form.json_schema is not None:
        param = "tools" if form.must_call or form.holds_calls else spec.held_by
        found.append(_Guide("json_schema", "new", form.json_schema, param))
    if form.call_schema is not None:
        found.append(_Guide("call_schema", "new", form.call_schema, "tools"))
    return found


def _settled(spec: ChatSpec, guide: _Guide, verdict: Verdict) -> ChatSpec:
    if verdict.reason:
        raise guide.refused(verdict.reason)
    changed: Any = verdict.text
    if guide.field == "grammar" and spec.form.grammar is not None:
        changed = spec.form.grammar.model_copy(update={"text": verdict.text})
    return replace(spec, form=spec.form.model_copy(update={guide.field: changed}))


def _unreadable(reason: str, param: str, what: str = "schema") -> ApiError:
    sentence = f"Answers can't be held to this {what}: {reason}."
    return ApiError("invalid_schema", sentence, param=param)
