"""Answers in Anthropic's shape: events of a stream, whole messages. Pure: events in, JSON out.

Both are made of the same steps, so that a stream says what a whole message does. Knows no requests,
no readers and no HTTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic_core import from_json

from api.anthropic.blocks import OWN_ID
from api.serving.reading import OF_THE_PROMPT
from wire.messages import Delta, ErrorCode, Event, Finished, ToolCallDelta, Usage, Warning
from wire.queueing.turns import Tier

Json = dict[str, Any]
Kind = Literal["thinking", "text", "tool_use"]
_FIELDS = {"reasoning_effort": "thinking"}
"""Fields of jobs that are called otherwise in these requests."""
_NOTHING_CACHED = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}


def usage_of(usage: Usage, tier: Tier = "default") -> Json:
    """Token counts under Anthropic's names: those from the prompt cache are counted by
    themselves. What only its own service does is null, as its clients' types have it."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation": dict(_NOTHING_CACHED),
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "server_tool_use": None,
        "service_tier": "priority" if tier == "priority" else "standard",
        "inference_geo": None,
    }


class MessageAnswer:
    """One message, told event by event or whole.

    ``warnings`` are sentences known before any event; with ``one_call`` only the first call is
    told, with ``hides_thinking`` thinking without its text. ``sampling`` is what was used, ``tier``
    its class of service.
    """

    def __init__(
        self,
        job_id: str,
        model: str,
        *,
        one_call: bool = False,
        hides_thinking: bool = False,
        warnings: Sequence[str] = (),
        sampling: Json | None = None,
        tier: Tier = "default",
    ) -> None:
        self._job_id, self._model = job_id, model
        self._hides_thinking = hides_thinking
        self._most_calls = 1 if one_call else None
        self.warnings = tuple(warnings)
        self._untold = list(warnings)
        self._sampling = {} if sampling is None else {"sampling": sampling}
        self._tier: Tier = tier
        self._open: Kind | None = None
        self._index = -1
        self._calls = 0
        self._drops = False
        """Whether the pieces that come next are of a call that isn't told."""

    @classmethod
    def param_of(cls, code: ErrorCode) -> str | None:
        """The field that a job's bad end is the fault of."""
        return "messages" if code in OF_THE_PROMPT else None

    def start(self) -> Json:
        """The first event. The prompt's tokens are counted when it has been read, at the end."""
        message = self._message([], None, Usage()) | self._take_warnings()
        return {"type": "message_start", "message": message}

    def events(self, event: Event) -> Iterator[Json]:
        """The events that follow from one of the job's."""
        if isinstance(event, Warning):
            self._untold.append(named_warning(event.text))
        elif isinstance(event, Delta):
            yield from self._delta(event)
        elif isinstance(event, Finished):
            yield from self._close()
            yield {
                "type": "message_delta",
                "delta": self._stop(event),
                "usage": usage_of(event.usage, self._tier),
                **self._take_warnings(),
                **self._end(event),
            }
            yield {"type": "message_stop"}

    def whole(self, events: Sequence[Event], end: Finished) -> Json:
        """The answer to a request without a stream."""
        blocks = _collected(step for event in events for step in self.events(event))
        for warning in (event.text for event in events if isinstance(event, Warning)):
            self._untold.append(named_warning(warning))
        self._untold = [*self.warnings, *self._untold]
        return self._message(blocks, end, end.usage) | self._take_warnings() | self._end(end)

    def _message(self, content: list[Json], end: Finished | None, usage: Usage) -> Json:
        return {
            "id": f"msg_{self._job_id}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            **(self._stop(end) if end else _stopped(None)),
            "usage": usage_of(usage, self._tier),
        }

    def _stop(self, end: Finished) -> Json:
        sequence = end.stop_reason if isinstance(end.stop_reason, str) else None
        if end.finish_reason == "length":
            reason = "max_tokens"
        elif end.finish_reason == "stop" and self._calls:
            reason = "tool_use"
        else:
            reason = "end_turn" if sequence is None else "stop_sequence"
        return _stopped(reason, sequence if reason == "stop_sequence" else None)

    def _end(self, end: Finished) -> Json:
        """What other services don't tell."""
        cancelled = {"cancelled": True} if end.finish_reason == "cancelled" else {}
        return self._sampling | cancelled

    def _take_warnings(self) -> Json:
        told, self._untold = self._untold, []
        return {"warnings": told} if told else {}

    def _delta(self, event: Delta) -> Iterator[Json]:
        # In the order in which they were made, however the log has grouped them.
        for piece in event.apart():
            items = list(piece.tool_calls)
            while items and not items[0].name:  # The rest of the open call.
                yield from self._call(items.pop(0))
            yield from self._think(piece.reasoning)
            yield from self._say(piece.text)
            for call in items:
                yield from self._call(call)

    def _think(self, thinking: str) -> Iterator[Json]:
        if thinking:
            if self._open != "thinking":
                yield from self._begin("thinking", {"thinking": "", "signature": ""})
            if not self._hides_thinking:
                yield self._piece("thinking_delta", "thinking", thinking)

    def _say(self, text: str) -> Iterator[Json]:
        if text:
            if self._open != "text":
                yield from self._begin("text", {"text": "", "citations": []})
            yield self._piece("text_delta", "text", text)

    def _call(self, call: ToolCallDelta) -> Iterator[Json]:
        """A call or the beginning of one, which has a name; or what continues the last."""
        if call.name:
            self._drops = self._calls == self._most_calls
            if not self._drops:
                self._calls += 1
                head: Json = {"id": f"{OWN_ID}{call.id}", "name": call.name, "input": {}}
                yield from self._begin("tool_use", head | {"caller": {"type": "direct"}})
        if call.arguments and not self._drops:
            yield self._piece("input_json_delta", "partial_json", call.arguments)

    def _begin(self, kind: Kind, block: Json) -> Iterator[Json]:
        yield from self._close()
        self._open, self._index = kind, self._index + 1
        block = {"type": kind} | block
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _piece(self, kind: str, field: str, text: str) -> Json:
        delta = {"type": kind, field: text}
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _close(self) -> Iterator[Json]:
        if self._open is None:
            return
        if self._open == "thinking":
            yield self._piece("signature_delta", "signature", self._signature())
        self._open = None
        yield {"type": "content_block_stop", "index": self._index}

    def _signature(self) -> str:
        """Something that clients keep and send back; the same whenever the answer is read."""
        return hashlib.sha256(f"{self._job_id}:{self._index}".encode()).hexdigest()


def _stopped(reason: str | None, sequence: str | None = None) -> Json:
    """Why an answer ended. No message is refused by its content, and none has a container."""
    return {
        "stop_reason": reason,
        "stop_sequence": sequence,
        "stop_details": None,
        "container": None,
    }


def named_warning(warning: str) -> str:
    """A warning about a field, which is called otherwise here."""
    for name, here in _FIELDS.items():
        if warning.startswith(f"{name} "):
            return here + warning.removeprefix(name)
    return warning


def _collected(steps: Iterator[Json]) -> list[Json]:
    """The blocks that the events of a stream tell of."""
    blocks: list[Json] = []
    pieces: list[str] = []
    for step in steps:
        if step["type"] == "content_block_start":
            blocks.append(dict(step["content_block"]))
            pieces = []
        elif step["type"] == "content_block_delta":
            kind, text = step["delta"].values()
            if kind == "signature_delta":
                blocks[-1]["signature"] = text
            else:
                pieces.append(text)
        elif step["type"] == "content_block_stop":
            _fill(blocks[-1], "".join(pieces))
    return blocks


def _fill(block: Json, text: str) -> None:
    if block["type"] != "tool_use":
        block[block["type"]] = text
        return
    try:
        # One that was cut off by its limit of tokens is told as far as it goes.
        arguments = from_json(text, allow_inf_nan=False, allow_partial="trailing-strings")
    except ValueError:
        arguments = {}
    block["input"] = arguments if isinstance(arguments, dict) else {}
