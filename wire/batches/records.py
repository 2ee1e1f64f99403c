"""The records of a batch: its lines, the slices that are queued, and the result of a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from wire import sampling_used
from wire.messages import (
    PLAIN_TEXT,
    ErrorCode,
    FinishReason,
    Message,
    OutputFormat,
    Record,
    Sampling,
    TokenLogprob,
    ToolCall,
    Usage,
)
from wire.versions import added

SLICE_LINES = 32
"""Prompts of a slice: few enough that two machines share a small batch, enough to fill the rows
of one in one go."""
SLICE_BYTES = 1 << 20
"""A slice is full with this many bytes of prompts, whatever its lines."""

BatchState = Literal[
    "uploading", "queued", "running", "cancelling", "completed", "cancelled", "expired"
]
ENDED_STATES = ("completed", "cancelled", "expired")
UNREADABLE: tuple[ErrorCode, str] = (
    "job_unreadable",
    "The prompt could not be read: it may be of another version.",
)
LOST: tuple[ErrorCode, str] = ("job_lost", "The prompt is gone from Redis. Send it again.")


class BatchLine(Record):
    """One prompt of a batch, ready to run. ``number`` is its line in the upload, counted from 1.

    ``warnings`` are sentences for its result: what of the line was left out. ``asked`` is for its
    result, too, and nothing to a worker: what the API that wrote it tells of the request.
    """

    number: int
    custom_id: str
    model_id: str
    model_revision: str
    messages: tuple[Message, ...]
    sampling: Sampling
    form: OutputFormat = PLAIN_TEXT
    warnings: tuple[str, ...] = added((), since=2, refines=True)
    asked: str = added("", since=4, refines=False)


class BatchSlice(Record):
    """What a slice's RQ job holds: where its prompts are.

    ``number`` counts the slices of a batch from 0.
    """

    job_id: str
    batch_id: str
    owner: str
    number: int


_NOTHING_USED = Usage()


@dataclass(frozen=True, slots=True)
class LineResult:
    """What a line came to: a text and why it ended, or a code, a sentence and the field at fault.

    Unread, it has a number below 1. ``logprobs`` and the like are as in the events of a chat;
    ``prompt`` is the text of a prompt that is echoed. ``sampling`` is what it ran with, ``asked``
    that of its line.
    """

    number: int
    custom_id: str | None
    model_id: str = ""
    text: str = ""
    finish_reason: FinishReason = "stop"
    usage: Usage = _NOTHING_USED
    error: tuple[ErrorCode, str] | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    stop_reason: str | int | None = None
    warnings: tuple[str, ...] = ()
    param: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt: str | None = None
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    last: TokenLogprob | None = None
    sampling: Sampling | None = None
    asked: str = ""

    def encode(self) -> str:
        """The line of the results."""
        row: dict[str, Any] = {
            "custom_id": self.custom_id,
            "line": self.number if self.number > 0 else None,
        }
        if self.error is not None:
            row["error"] = {"code": self.error[0], "message": self.error[1]}
            if self.param is not None:
                row["error"]["param"] = self.param
            return json.dumps(row, separators=(",", ":"))
        usage = {
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
        }
        row |= {"model_id": self.model_id, "text": self.text, "finish_reason": self.finish_reason}
        row["usage"] = usage | {
            "cached_tokens": self.usage.cached_tokens,
            "reasoning_tokens": self.usage.reasoning_tokens,
        }
        if self.reasoning:
            row["reasoning"] = self.reasoning
        if self.tool_calls:
            row["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        if self.stop_reason is not None:
            row["stop_reason"] = self.stop_reason
        if self.warnings:
            row["warnings"] = list(self.warnings)
        if self.sampling is not None:
            row["sampling"] = sampling_used.short(self.sampling)
        if self.asked:
            row["asked"] = self.asked
        row |= self._probabilities()
        return json.dumps(row, separators=(",", ":"))

    def _probabilities(self) -> dict[str, Any]:
        """What the row has for a line that asks for log-probabilities, or to echo its prompt."""
        lists = {"logprobs": self.logprobs, "prompt_logprobs": self.prompt_logprobs}
        row: dict[str, Any] = {
            name: [one.view() for one in values] for name, values in lists.items() if values
        }
        if self.prompt is not None:
            row["prompt"] = self.prompt
        if self.last is not None:
            row["last_logprob"] = self.last.view()
        return row


def slice_job_id(batch_id: str, number: int) -> str:
    """The id of a slice's RQ job: the same from every process, so that it is queued once."""
    return f"{batch_id[:24]}{number:08x}"
