"""One line of an OpenAI batch: read as a prompt, and its result written in OpenAI's shape. Pure.

Knows no files and no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from api.batches.lines import checked
from api.chat.request import ChatSpec
from api.errors import ApiError
from api.openai import other_fields
from api.openai.responses import Answer, ChatAnswer, CompletionAnswer, Json
from api.openai.schemas import ChatBody, CompletionBody
from wire.messages import Delta, Finished, ToolCall, Usage

Read = Callable[[Json], tuple[str | None, ChatSpec]]
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
_BODIES: dict[str, type[ChatBody | CompletionBody]] = {CHAT: ChatBody, COMPLETION: CompletionBody}
_ANSWERS: dict[str, type[Answer]] = {CHAT: ChatAnswer, COMPLETION: CompletionAnswer}
ENDPOINTS = tuple(_BODIES)
EXPIRED: Json = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}


def reader(endpoint: str) -> Read:
    """What reads the lines of a batch for this endpoint, raising ApiError as a request does."""

    def read(row: Json) -> tuple[str | None, ChatSpec]:
        if row.get("method") != "POST":
            raise ApiError("invalid_request", "The method must be POST.", param="method")
        if row.get("url") != endpoint:
            raise ApiError(
                "invalid_request", f"The url must be that of the batch, {endpoint}.", param="url"
            )
        if not isinstance(row.get("body"), dict):
            raise ApiError("invalid_request", "The body must be an object.", param="body")
        body = checked(_BODIES[endpoint], row["body"])
        if body.stream:
            raise ApiError("unsupported", "A batch has no streams.", param="stream")
        spec = body.spec()
        if body.one_call and spec.form.tools and not spec.form.must_call:
            sentence = "In a batch an answer may call several tools: leave parallel_tool_calls out."
            raise ApiError("unsupported", sentence, param="parallel_tool_calls")
        if ignored := body.ignored():
            spec = replace(
                spec, warnings=(f"Unknown fields were ignored: {other_fields.named(ignored)}.",)
            )
        return body.model, spec

    return read


READERS = {endpoint: reader(endpoint) for endpoint in ENDPOINTS}


class ResultLines:
    """Writes results as OpenAI's lines.

    ``models``: name and fingerprint by model id; ``created`` is in seconds.
    """

    def __init__(
        self, batch_id: str, endpoint: str, created: int, models: Mapping[str, tuple[str, str]]
    ) -> None:
        self._batch_id = batch_id
        self._answer = _ANSWERS[endpoint]
        self._created = created
        self._models = models

    def line(self, result: Json) -> Json:
        """A line that has run, well or not."""
        request_id = f"{self._batch_id[:24]}{result['line']:08x}"
        answered = (
            self._failed(result["error"]) if "error" in result else self._done(result, request_id)
        )
        head = {"id": f"batch_req_{request_id}", "custom_id": result["custom_id"]}
        status, body = answered
        response = {"status_code": status, "request_id": request_id, "body": body}
        return head | {"response": response, "error": None}

    def _done(self, result: Json, request_id: str) -> tuple[int, Json]:
        used = result["usage"]
        usage = Usage(used["prompt_tokens"], used["completion_tokens"], used["cached_tokens"])
        name, fingerprint = self._models.get(result["model_id"], (result["model_id"], ""))
        warnings = result.get("warnings", ())
        answer = self._answer(request_id, self._created, name, fingerprint, warnings=warnings)
        calls = tuple(ToolCall(**call) for call in result.get("tool_calls", ()))
        delta = Delta(result["text"], (), result.get("reasoning", ""), calls)
        end = Finished(result["finish_reason"], usage, stop_reason=result.get("stop_reason"))
        return 200, answer.whole([delta], end)

    def _failed(self, error: Json) -> tuple[int, Json]:
        refused = ApiError(
            error["code"],
            error["message"],
            param=error.get("param") or self._answer.param_of(error["code"]),
        )
        return refused.openai_status, refused.openai()

    def expired(self, custom_id: str | None, number: int) -> Json:
        """A line that the window ended before."""
        head = {"id": f"batch_req_{self._batch_id[:24]}{number:08x}", "custom_id": custom_id}
        return head | {"response": None, "error": EXPIRED}
