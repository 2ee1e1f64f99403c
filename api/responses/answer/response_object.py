"""The response that events and whole answers carry: what was asked for, and how it stands. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from api.errors import ApiError
from api.openai.responses import input_and_output
from api.responses import fields
from api.responses.answer import failures
from api.responses.answer.expansion import View
from api.responses.answer.output_items import Json
from api.responses.schemas import HIGHEST, ResponsesBody
from api.responses.tools import OtherTool, ToolSet
from api.serving.generation import DEFAULT_TEMPERATURE, DEFAULT_TOP_P
from wire.messages import Failed, Finished, Usage

ID = "resp_"
Unended = Literal["queued", "in_progress"]


def usage_of(usage: Usage) -> Json:
    """Token counts under the names of this API."""
    told = input_and_output(usage)
    # What is kept of a prompt costs nothing here, and is not counted.
    told["input_tokens_details"]["cache_write_tokens"] = 0
    return told


def view_of(body: ResponsesBody, tools: ToolSet) -> View:
    """What a request wants to see of its answer."""
    return View(
        tools.names,
        one_call=body.one_call,
        summary=body.summary is not None,
        hidden_thinking=body.includes(fields.HIDDEN_REASONING),
    )


def asked_for(body: ResponsesBody) -> Json:
    """The part of a response that repeats its request."""
    reasoning = body.reasoning
    effort = None if reasoning is None else reasoning.effort
    return {
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata or {},
        "parallel_tool_calls": not body.one_call,
        "previous_response_id": body.previous_response_id,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {
            "effort": HIGHEST if effort in ("xhigh", "max") else effort,
            "summary": body.summary,
        },
        "safety_identifier": body.safety_identifier,
        "text": _text(body),
        "tool_choice": _tool_choice(body),
        "tools": [_tool(tool) for tool in body.tools or () if not isinstance(tool, OtherTool)],
        "top_logprobs": body.top_logprobs or 0,
        "truncation": body.truncation or "disabled",
        "user": body.user,
    }


def _text(body: ResponsesBody) -> Json:
    wanted = None if body.text is None else body.text.format
    told = {"type": "text"} if wanted is None else wanted.model_dump(by_alias=True)
    verbosity = None if body.text is None else body.text.verbosity
    return {"format": told, "verbosity": verbosity or "medium"}


def _tool_choice(body: ResponsesBody) -> Any:
    choice = body.tool_choice
    if choice is None or isinstance(choice, str):
        return choice or "auto"
    return choice.model_dump(exclude_none=True)


def _tool(tool: Any) -> Json:
    told: Json = tool.model_dump()
    if told.get("format", "") is None:
        del told["format"]
    if tool.type == "namespace":
        told["tools"] = [_tool(one) for one in tool.tools if not isinstance(one, OtherTool)]
    return told


class ResponseObject:
    """One response. ``created_at`` is in seconds since the epoch; ``sampling`` is what is used."""

    def __init__(
        self,
        job_id: str,
        created_at: int,
        model: str,
        asked: Json,
        *,
        sampling: Json | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        used = sampling or {}
        self._created_at = created_at
        self._warnings = list(warnings)
        self._head: Json = {"id": ID + job_id, "object": "response", "created_at": created_at}
        self._rest: Json = {
            "background": False,
            "model": model,
            "service_tier": "default",
            "store": False,
            **asked,
            "temperature": used.get("temperature", DEFAULT_TEMPERATURE),
            "top_p": used.get("top_p", DEFAULT_TOP_P),
            "presence_penalty": used.get("presence_penalty", 0.0),
            "frequency_penalty": used.get("frequency_penalty", 0.0),
        }
        self._sampling = {} if sampling is None else {"sampling": sampling}

    def warn(self, text: str) -> None:
        """Note a warning for the last event."""
        self._warnings.append(text)

    def going_on(self, output: Sequence[Json] = (), status: Unended = "in_progress") -> Json:
        """The response before its end. Events have nothing in it that depends on when they are
        read."""
        return self._told(status, list(output))

    def finished(self, output: list[Json], end: Finished) -> Json:
        """The response after a good end, cut short or not."""
        reason = {"stop": "completed", "length": "incomplete"}
        cut = {"reason": "max_output_tokens"} if end.finish_reason == "length" else None
        status = reason.get(end.finish_reason, "cancelled")
        completed = self._time_of(end) if status == "completed" else None
        ended = {"incomplete_details": cut, "completed_at": completed}
        return self._last(status, output, end.usage) | ended

    def failed(self, output: list[Json], error: ApiError, usage: Usage | None) -> Json:
        """The response after a bad end."""
        return self._last("failed", output, usage) | {"error": failures.told(error)}

    def _last(self, status: str, output: list[Json], usage: Usage | None) -> Json:
        told = self._told(status, output) | self._sampling
        if usage is not None:
            told["usage"] = usage_of(usage)
        if self._warnings:
            told["warnings"] = list(self._warnings)
        return told

    def _told(self, status: str, output: list[Json]) -> Json:
        nothing_yet = {"completed_at": None, "error": None, "incomplete_details": None}
        how = {"status": status, **nothing_yet, "output": output, "usage": None}
        return self._head | how | self._rest

    def _time_of(self, end: Finished | Failed) -> int:
        """When it ended, to the second: from what the log says, so that every reader is told the
        same."""
        timings, rate = end.timings, end.timings.tokens_per_second
        decoding = (end.usage.completion_tokens - 1) / rate if rate > 0 else 0.0
        return self._created_at + round(timings.ttft_ms / 1000 + max(0.0, decoding))
