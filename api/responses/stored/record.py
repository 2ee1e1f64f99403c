"""What is kept of a response beside its job's log: enough to tell its events once more. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from api.responses.answer.events import Events
from api.responses.answer.expansion import Expansion, View
from api.responses.answer.output_items import Json
from api.responses.answer.response_object import ResponseObject
from api.responses.tools import ToolName
from api.serving.reading import Fields


@dataclass(frozen=True, slots=True)
class ResponseRecord:
    """One response as it was asked for.

    ``asked`` is what a response repeats of its request, ``warnings`` what was known before the job
    began. ``items`` are all that the answer is to: those of the chain before it, too. So the chain
    does not need its older responses.
    """

    owner: str
    model: str
    asked: Json
    view: View
    warnings: tuple[str, ...] = ()
    items: tuple[Json, ...] = ()
    background: bool = False
    stored: bool = False

    def response(self, job_id: str, created_at: int, sampling: Json | None) -> ResponseObject:
        """The response, as it has not ended yet."""
        return ResponseObject(
            job_id,
            created_at,
            self.model,
            self.asked | {"background": self.background, "store": self.stored},
            sampling=sampling,
            warnings=self.warnings,
        )

    def events(self, job_id: str, created_at: int, sampling: Json | None, answer: Fields) -> Events:
        """Its events, given the entries of its job's log."""
        response = self.response(job_id, created_at, sampling)
        return Events(response, Expansion(job_id, self.view), answer)

    def including(self, *, hidden_thinking: bool) -> ResponseRecord:
        """The same for a reader that wants more of it."""
        if not hidden_thinking or self.view.hidden_thinking:
            return self
        return replace(self, view=replace(self.view, hidden_thinking=True))

    def packed(self) -> bytes:
        """As it is kept."""
        view = self.view
        names = {flat: [n.kind, n.name, n.namespace] for flat, n in view.names.items()}
        told = {
            "owner": self.owner,
            "model": self.model,
            "asked": self.asked,
            "view": [view.one_call, view.summary, view.hidden_thinking],
            "names": names,
            "warnings": self.warnings,
            "items": self.items,
            "background": self.background,
        }
        return zlib.compress(json.dumps(told, separators=(",", ":")).encode("ascii"), 3)


def unpacked(kept: bytes) -> ResponseRecord:
    """A record as it was kept."""
    told: Any = json.loads(zlib.decompress(kept))
    names = {flat: ToolName(*name) for flat, name in told["names"].items()}
    return ResponseRecord(
        told["owner"],
        told["model"],
        told["asked"],
        View(names, *told["view"]),
        tuple(told["warnings"]),
        tuple(told["items"]),
        told["background"],
        stored=True,
    )


_PREFIXES = {
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}


def named(items: Sequence[Json], job_id: str, first: int) -> tuple[Json, ...]:
    """Items with ids of their own, of a request that made this job."""
    return tuple(
        {"id": f"{_PREFIXES.get(str(item.get('type')), 'msg')}_{job_id}i{number:04x}"} | item
        for number, item in enumerate(items, first)
    )
