"""Answers in OpenAI's shape: chunks of a stream, whole answers, usage. Pure: events in, JSON out.

Knows no requests, no readers and no HTTP.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from api.openai.logprobs import TextLogprobs, chat_logprobs, joined
from api.serving.reading import OF_THE_PROMPT
from wire.messages import (
    Delta,
    ErrorCode,
    Event,
    Finished,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
    Warning,
    whole_calls,
)
from wire.queueing.turns import Tier

Json = dict[str, Any]


def usage_of(usage: Usage) -> Json:
    """Token counts under OpenAI's names."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def input_and_output(usage: Usage) -> Json:
    """Token counts under the names that OpenAI's newer objects have: responses and batches."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


class Answer(ABC):
    """One response, built chunk by chunk or whole. ``created`` is in seconds since the epoch.

    ``warnings`` are sentences known before any event; with ``one_call`` only the first tool call is
    returned. ``sampling``, what was used, comes beside the usage. ``tier`` is the class of service
    of a request that is not a line of a batch.
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
        sampling: Json | None = None,
        tier: Tier | None = None,
    ) -> None:
        self._head: Json = {"id": f"{self.prefix}-{job_id}", "created": created, "model": model}
        self._fingerprint = fingerprint
        self._with_usage = with_usage
        self._one_call = one_call
        self.warnings = tuple(warnings)
        self._untold = list(warnings)
        self._sampling = {} if sampling is None else {"sampling": sampling}
        self._tier = {} if tier is None else {"service_tier": tier}

    @classmethod
    def param_of(cls, code: ErrorCode) -> str | None:
        """The field that a job's bad end is the fault of."""
        return cls.prompt_field if code in OF_THE_PROMPT else None

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
                chunks.append(self.usage_chunk(event.usage))
        return chunks

    def usage_chunk(self, usage: Usage) -> Json:
        """The chunk that follows the last choice's."""
        return self._told(self.chunk_object, []) | {"usage": usage_of(usage)} | self._sampling

    def whole(self, events: Sequence[Event], end: Finished) -> Json:
        """The answer to a request without a stream."""
        usage = {"usage": usage_of(end.usage)} | self._sampling
        body = self._told(self.whole_object, [self.choice(events, end)]) | usage
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
            **self._tier,
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
            delta = self._delta(event)
            if delta or event.logprobs:
                pieces.append(_piece(delta, logprobs=event.logprobs))
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
        told = whole_calls(item for delta in deltas for item in delta.tool_calls)
        calls = [_call(call) for call in told[: 1 if self._one_call else None]]
        message: Json = {
            "role": "assistant",
            "content": text if text or not calls else None,
            "refusal": None,
            "annotations": [],  # no model searches the web
        }
        if reasoning:
            message["reasoning"] = message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = calls
        reason = _reason(end, called=bool(calls))
        measured = [one for delta in deltas for one in delta.logprobs]
        logprobs = chat_logprobs(measured) if measured or end.last is not None else None
        body = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": reason}
        return body | {"stop_reason": end.stop_reason}

    def _delta(self, event: Delta) -> Json:
        body: Json = {}
        if event.reasoning:
            # vLLM's name and DeepSeek's: clients look for the one or the other.
            body["reasoning"] = body["reasoning_content"] = event.reasoning
        if event.text:
            body["content"] = event.text
        if items := self._items(event.tool_calls):
            body["tool_calls"] = items
        return body

    def _items(self, told: Sequence[ToolCallDelta]) -> list[Json]:
        """Beginnings of calls and pieces of their arguments, one of each call at most."""
        items: list[Json] = []
        for one in told:
            self._calls += bool(one.name)
            if self._one_call and self._calls > 1:
                break
            if one.name:
                items.append({"index": self._calls - 1} | _call(one))
            elif items:
                items[-1]["function"]["arguments"] += one.arguments
            else:
                function = {"arguments": one.arguments}
                items.append({"index": self._calls - 1, "function": function})
        return items


def _piece(delta: Json, reason: str | None = None, logprobs: Sequence[TokenLogprob] = ()) -> Json:
    told = chat_logprobs(logprobs) if logprobs else None
    return {"index": 0, "delta": delta, "logprobs": told, "finish_reason": reason}


def _call(call: ToolCall | ToolCallDelta) -> Json:
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._logprobs = TextLogprobs()

    def pieces(self, event: Event) -> list[Json]:
        if isinstance(event, Delta):
            return [_text(event.text, self._logprobs.of(event))]
        return [self._end("", None, event)] if isinstance(event, Finished) else []

    def choice(self, events: Sequence[Event], end: Finished) -> Json:
        deltas = [event for event in events if isinstance(event, Delta)]
        told = joined([self._logprobs.of(delta) for delta in deltas])
        return self._end("".join(delta.text for delta in deltas), told, end)

    def _end(self, text: str, told: Json | None, end: Finished) -> Json:
        body = _text(text, joined([told, self._logprobs.of(end)]))
        body["finish_reason"] = _reason(end, called=False)
        return body | {"stop_reason": end.stop_reason}


def _text(text: str, logprobs: Json | None) -> Json:
    return {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": None}
