"""The items of a response, event by event: thinking, messages and calls of tools.

Each begins with ``response.output_item.added``, grows, and ends with ``output_item.done``, which
has it whole. Pure. Numbers of events are added elsewhere.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any, Literal

from api.responses.answer.custom_input import CustomInput
from api.responses.thinking import sealed
from api.responses.tools import ToolName

Json = dict[str, Any]
Status = Literal["in_progress", "completed", "incomplete"]


class OutputItem(ABC):
    """One item of an answer. Its id is the job's, and its place among the items."""

    prefix: str

    def __init__(self, job_id: str, index: int) -> None:
        self.id = f"{self.prefix}_{job_id}{index:04x}"
        self._index = index

    @abstractmethod
    def whole(self, status: Status) -> Json:
        """The item as it is so far."""

    @abstractmethod
    def _begun(self) -> list[Json]:
        """The events behind the first."""

    @abstractmethod
    def _ended(self) -> list[Json]:
        """The events before the last."""

    def begin(self) -> list[Json]:
        added = {"type": "response.output_item.added", "output_index": self._index}
        return [added | {"item": self.whole("in_progress")}, *self._begun()]

    def end(self, status: Status) -> list[Json]:
        ended = self._ended()
        done = {"type": "response.output_item.done", "output_index": self._index}
        return [*ended, done | {"item": self.whole(status)}]

    def _event(self, kind: str, **fields: Any) -> Json:
        place = {"item_id": self.id, "output_index": self._index}
        return {"type": f"response.{kind}", **place, **fields}


class Message(OutputItem):
    """What is said."""

    prefix = "msg"

    def __init__(self, job_id: str, index: int) -> None:
        super().__init__(job_id, index)
        self._texts: list[str] = []
        self._logprobs: list[Json] = []
        self._has_part = False

    def grow(self, text: str, logprobs: list[Json]) -> list[Json]:
        self._texts.append(text)
        self._logprobs += logprobs
        delta = {"delta": text, "logprobs": logprobs}
        return [self._event("output_text.delta", content_index=0, **delta)]

    def whole(self, status: Status) -> Json:
        content = [self._part()] if self._has_part else []
        head = {"id": self.id, "type": "message", "status": status, "role": "assistant"}
        return head | {"content": content}

    def _part(self) -> Json:
        told = {"text": "".join(self._texts), "logprobs": list(self._logprobs)}
        return {"type": "output_text", "annotations": [], **told}

    def _begun(self) -> list[Json]:
        self._has_part = True
        return [self._event("content_part.added", content_index=0, part=self._part())]

    def _ended(self) -> list[Json]:
        part = self._part()
        told = {"text": part["text"], "logprobs": part["logprobs"]}
        return [
            self._event("output_text.done", content_index=0, **told),
            self._event("content_part.done", content_index=0, part=part),
        ]


class Thinking(OutputItem):
    """What is thought: the item's content, or if one is asked for its summary, which is the
    thinking as it is. ``hidden``: also as what clients carry unread."""

    prefix = "rs"

    def __init__(self, job_id: str, index: int, *, summary: bool, hidden: bool) -> None:
        super().__init__(job_id, index)
        self._texts: list[str] = []
        self._summary, self._hidden = summary, hidden
        self._has_part = False
        self._kind = "reasoning_summary_text" if summary else "reasoning_text"
        self._at = {"summary_index": 0} if summary else {"content_index": 0}

    def grow(self, text: str) -> list[Json]:
        self._texts.append(text)
        return [self._event(f"{self._kind}.delta", **self._at, delta=text)]

    def whole(self, status: Status) -> Json:
        parts = [self._part()] if self._has_part else []
        item: Json = {"id": self.id, "type": "reasoning", "status": status}
        item |= {"summary": parts} if self._summary else {"summary": [], "content": parts}
        if self._hidden:
            done = status != "in_progress"
            item["encrypted_content"] = sealed("".join(self._texts)) if done else None
        return item

    def _part(self) -> Json:
        kind = "summary_text" if self._summary else "reasoning_text"
        return {"type": kind, "text": "".join(self._texts)}

    def _begun(self) -> list[Json]:
        self._has_part = True
        return [self._event(f"{self._part_kind}.added", **self._at, part=self._part())]

    def _ended(self) -> list[Json]:
        part = self._part()
        return [
            self._event(f"{self._kind}.done", **self._at, text=part["text"]),
            self._event(f"{self._part_kind}.done", **self._at, part=part),
        ]

    @property
    def _part_kind(self) -> str:
        return "reasoning_summary_part" if self._summary else "content_part"


class Call(OutputItem):
    """A call of a function, under the name that the client knows it by."""

    prefix = "fc"
    _type = "function_call"
    _delta = "function_call_arguments"
    _field = "arguments"

    def __init__(self, job_id: str, index: int, call_id: str, name: ToolName) -> None:
        super().__init__(job_id, index)
        self._call_id, self._name = call_id, name
        self._pieces: list[str] = []

    def grow(self, arguments: str) -> list[Json]:
        return self._told(arguments)

    def whole(self, status: Status) -> Json:
        item: Json = {"id": self.id, "type": self._type, "status": status}
        item |= {"call_id": self._call_id, "name": self._name.name}
        if self._name.namespace is not None:
            item["namespace"] = self._name.namespace
        return item | {self._field: "".join(self._pieces)}

    def _told(self, piece: str) -> list[Json]:
        if not piece:
            return []
        self._pieces.append(piece)
        return [self._event(f"{self._delta}.delta", delta=piece)]

    def _begun(self) -> list[Json]:
        return []

    def _ended(self) -> list[Json]:
        told = {self._field: "".join(self._pieces)}
        return [self._event(f"{self._delta}.done", **told)]


class CustomToolCall(Call):
    """A call of a custom tool: of its arguments only the one string is told."""

    prefix = "ctc"
    _type = "custom_tool_call"
    _delta = "custom_tool_call_input"
    _field = "input"

    def __init__(self, job_id: str, index: int, call_id: str, name: ToolName) -> None:
        super().__init__(job_id, index, call_id, name)
        self._input = CustomInput()

    def grow(self, arguments: str) -> list[Json]:
        return self._told(self._input.add(arguments))

    def _ended(self) -> list[Json]:
        return [*self._told(self._input.rest()), *super()._ended()]


def encoded(event: Json) -> bytes:
    """An event as it is sent."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode("ascii")
