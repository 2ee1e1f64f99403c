"""Answers as logs hold them, and the events that become of them."""

from __future__ import annotations

from typing import Any

from api.responses.answer.events import Events
from api.responses.answer.expansion import Expansion, View
from api.responses.answer.response_object import ResponseObject
from api.responses.fields import FIELDS
from api.responses.tools import ToolName
from wire.messages import Delta, Event, Finished, Timings, ToolCallDelta, Usage

JOB = "0" * 32


def called(arguments: str, name: str = "clock", call_id: str = "c1") -> Delta:
    return Delta("", (1,), "", (ToolCallDelta(id=call_id, name=name, arguments=arguments),))


def goes_on(arguments: str) -> Delta:
    return Delta("", (1,), "", (ToolCallDelta(id="", name="", arguments=arguments),))


def events_of(*logged: Event, **view: Any) -> list[dict[str, Any]]:
    names = {
        "apply_patch": ToolName("custom", "apply_patch"),
        "a__b": ToolName("function", "b", "a"),
    }
    events = Events(ResponseObject(JOB, 1, "m", {}), Expansion(JOB, View(names, **view)), FIELDS)
    told = events.beginning()
    for event in logged:
        told += events.of(event)
    return told


END = Finished("stop", Usage(5, 3, 2, 1), Timings(ttft_ms=500, tokens_per_second=1))
