"""Answers in OpenAI's shape: chunks of a stream, whole answers, usage. Pure: events in, JSON out.

Knows no requests, no readers and no HTTP.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from wire.messages import Delta, ErrorCode, Event, Finished, ToolCall, Usage, Warning

Json = dict[str, Any]


def usage_of(usage: Usage) -> Json:
    """Token counts under OpenAI's names."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


class Answer(ABC):
    """One response, built chunk by chunk or whole. ``created`` is in seconds since the epoch.

    ``warnings`` are sentences known before any event; with ``one_call`` only the first tool call is
    returned.
    """

    prefix: str
    whole_object: str
    chunk_object: str
    prompt_field: str
    """The request's field that is at fault when a prompt is."""

    def __init__(
        self,
        job_id: str,
        created: int,
        model: str,
        fingerprint: str,
        *,
        with_usage: bool = False,
        one_call: bool = False,
        warnings: Sequence[str] = (),
    ) -> None:
        self._head: Json = {"id": f"{self.prefix}-{job_id}", "created": created, "model": model}
        self._fingerprint = fingerprint
        self._with_usage = with_usage
        self._one_call = one_call
        self.warnings = tuple(warnings)
        self._untold = list(warnings)

    @classmethod
    def param_of(cls, code: ErrorCode) -> str | None:
        """The field that a job's bad end is the fault of."""
        return cls.prompt_field if code == "prompt_too_long" else None

    @abstractmethod
    def pieces(self, event: Event) -> list[Json]:
        """The choices of an event, one a chunk; none for events that OpenAI's clients don't
        know."""

    @abstractmethod
    def choice(self, events: Sequence[Event], end: Finished) -> Json:
        """The one choice of a whole answer."""

    def chunks(self, event: Event) -> list[Json]:
        """The chunks that an event brings."""
        if isinstance(event, Warning):
            self._untold.append(event.text)
        chunks = [self._told(self.chunk_object, [piece]) for piece in self.pieces(event)]
        if chunks and self._untold:
            chunks[0]["warnings"], self._untold = self._untold, []
        if isinstance(event, Finished) and event.finish_reason == "cancelled":
            chunks[-1]["cancelled"] = True
        if self._with_usage:
            chunks = [chunk | {"usage": None} for chunk in chunks]
            if isinstance(event, Finished):
                chunks.append(self._told(self.chunk_object, []) | {"usage": usage_of(event.usage)})
        return chunks

    def whole(self, events: Sequence[Event], end: Finished) -> Json:
        """The answer to a request without a stream."""
        body = self._told(self.whole_object, [self.choice(events, end)]) | {
            "usage": usage_of(end.usage)
        }
        warnings = [*self._untold, *(event.text for event in events if isinstance(event, Warning))]
        if warnings:
            body["warnings"] = warnings
        if end.finish_reason == "cancelled":
            body["cancelled"] = True
        return body

    def _told(self, kind: str, choices: list[Json]) -> Json:
        return self._head | {
            "object": kind,
            "system_fingerprint": self._fingerprint,
            "choices": choices,
        }


class ChatAnswer(Answer):
    """An answer to a chat."""

    prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    prompt_field = "messages"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begun = False
        self._calls = 0

    def pieces(self, event: Event) -> list[Json]:
        pieces: list[Json] = []
        if isinstance(event, Delta):
            if delta := self._delta(event):
                pieces.append(_piece(delta))
        elif isinstance(event, Finished):
            reason = _reason(event, called=self._calls > 0)
            pieces.append(_piece({}, reason) | {"stop_reason": event.stop_reason})
        if pieces and not self._begun:
            self._begun = True
            pieces.insert(0, _piece({"role": "assistant", "content": ""}))
        return pieces

    def choice(self, events: Sequence[Event], end: Finished) -> Json:
        deltas = [event for event in events if isinstance(event, Delta)]
        text, reasoning = (
            "".join(getattr(delta, kind) for delta in deltas) for kind in ("text", "reasoning")
        )
        calls = [_call(call) for delta in deltas for call in delta.tool_calls][
            : 1 if self._one_call else None
        ]
        message: Json = {
            "role": "assistant",
            "content": text if text or not calls else None,
            "refusal": None,
        }
        if reasoning:
            message["reasoning"] = message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = calls
        reason = _reason(end, called=bool(calls))
        body = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return body | {"stop_reason": end.stop_reason}

    def _delta(self, event: Delta) -> Json:
        body: Json = {}
        if event.reasoning:
            # vLLM's name and DeepSeek's: clients look for the one or the other.
            body["reasoning"] = body["reasoning_content"] = event.reasoning
        if event.text:
            body["content"] = event.text
        calls = event.tool_calls[: max(0, 1 - self._calls) if self._one_call else None]
        if calls:
            # A call is sent whole: it can be parsed only once it is complete.
            body["tool_calls"] = [
                {"index": self._calls + i} | _call(call) for i, call in enumerate(calls)
            ]
            self._calls += len(calls)
        return body


def _piece(delta: Json, reason: str | None = None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _call(call: ToolCall) -> Json:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _reason(end: Finished, *, called: bool) -> str:
    """OpenAI's finish_reason: it has one for tool calls, and none for a stopped chat."""
    if called and end.finish_reason == "stop":
        return "tool_calls"
    return "stop" if end.finish_reason == "cancelled" else end.finish_reason


class CompletionAnswer(Answer):
    """A continued text."""

    prefix = "cmpl"
    whole_object = chunk_object = "text_completion"
    prompt_field = "prompt"

    def pieces(self, event: Event) -> list[Json]:
        if isinstance(event, Delta):
            return [_text(event.text)]
        return [_end("", event)] if isinstance(event, Finished) else []

    def choice(self, events: Sequence[Event], end: Finished) -> Json:
        return _end("".join(event.text for event in events if isinstance(event, Delta)), end)


def _text(text: str, reason: str | None = None) -> Json:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


def _end(text: str, end: Finished) -> Json:
    return _text(text, _reason(end, called=False)) | {"stop_reason": end.stop_reason}
