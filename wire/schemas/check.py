"""Checks schemas and grammars in child processes: the text that a job carries, or the reason for a
refusal.

Blocking, for threads; verdicts are cached. Knows no requests.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

from wire.processes.pool import ChildPool, Limits, Refused

COMMAND = (sys.executable, "-P", "-m", "wire.schemas.process")
LIMIT_S = 20.0
"""Time for one schema on a busy machine; computing time has a limit of its own, two seconds."""
MEMORY = 1 << 29
SCHEMAS_EACH = 1_000
"""A child is replaced after this many schemas, whatever the library may have leaked."""
MOST_ANSWER = 4 << 20
_MOST_KEPT = 256
Kind = Literal["new", "kept", "regex", "lark"]
"""A client's schema, a job's schema, a regular expression, a grammar."""
_REASONS = {
    "time": "reading it takes too long",
    "cpu": "reading it takes too long",
    "memory": "reading it takes too much memory",
    "crash": "the program that reads it crashes or runs out of memory",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for a schema: the text that a job carries and its warnings, or a reason."""

    text: str = ""
    warnings: tuple[str, ...] = ()
    reason: str = ""


class SchemaCheck:
    """Has schemas checked, as many at once as there are threads that call."""

    def __init__(self, command: tuple[str, ...] = COMMAND, limit_s: float = LIMIT_S) -> None:
        limits = Limits(limit_s, MEMORY, MOST_ANSWER, SCHEMAS_EACH)
        self._pool = ChildPool(command, limits, _verdict)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, bytes], Verdict] = OrderedDict()

    def warm_up(self) -> None:
        """Start a process, so that the first schema doesn't wait for it."""
        self._pool.warm_up()

    def pids(self) -> list[int]:
        """The ids of the running processes."""
        return self._pool.pids()

    def new(self, schema: str) -> Verdict:
        """The verdict on a client's schema, which is JSON.

        Raises OSError when no process can be started.
        """
        return self.verdict("new", schema)

    def kept(self, text: str) -> Verdict:
        """The verdict on a job's schema, which is used unchanged or refused."""
        return self.verdict("kept", text)

    def known(self, kind: Kind, text: str) -> Verdict | None:
        """The cached verdict, without waiting."""
        return self._remembered(_name(kind, text))

    def _remembered(self, name: tuple[str, bytes]) -> Verdict | None:
        with self._lock:
            verdict = self._kept.get(name)
            if verdict is not None:
                self._kept.move_to_end(name)
            return verdict

    def verdict(self, kind: Kind, schema: str) -> Verdict:
        """The verdict on a text of this kind.

        Raises OSError when no process can be started.
        """
        name = _name(kind, schema)
        verdict = self._remembered(name)
        if verdict is not None:
            return verdict
        try:
            verdict = self._pool.ask(kind, _encoded(schema))
        except Refused as refused:
            verdict = Verdict(reason=_REASONS.get(str(refused), _REASONS["crash"]))
            if str(refused) == "time":  # The machine may be busy: not cached.
                return verdict
        with self._lock:
            self._kept[name] = verdict
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return verdict

    def close(self) -> None:
        """End the processes; a check in progress ends with a reason."""
        self._pool.close()


def _encoded(schema: str) -> bytes:
    return schema.encode("utf-8", "surrogatepass")


def _name(kind: str, schema: str) -> tuple[str, bytes]:
    return kind, hashlib.sha256(_encoded(schema)).digest()


def _verdict(_: dict[str, Any], data: bytes) -> Verdict:
    reply = json.loads(data)
    reason = str(reply.get("reason", ""))
    warnings = tuple(str(warning) for warning in reply.get("warnings", ()))
    return Verdict(str(reply.get("text", "")), warnings, reason)
