"""One line of an OpenAI batch: read as a prompt, and its result written in OpenAI's shape. Pure.

Knows no files and no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace

from api.batches.lines import checked
from api.chat.request import ChatSpec
from api.errors import ApiError
from api.openai.responses import Answer, ChatAnswer, CompletionAnswer, Json
from api.openai.schemas import ChatBody, CompletionBody
from api.serving.fields import named, unknown
from wire import sampling_used
from wire.messages import Delta, Event, Finished, TokenLogprob, ToolCallDelta, Usage

Read = Callable[[Json], tuple[str | None, ChatSpec]]
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
_BODIES: dict[str, type[ChatBody | CompletionBody]] = {CHAT: ChatBody, COMPLETION: CompletionBody}
_ANSWERS: dict[str, type[Answer]] = {CHAT: ChatAnswer, COMPLETION: CompletionAnswer}
ENDPOINTS = tuple(_BODIES)
_OF_A_LINE = frozenset({"custom_id", "method", "url", "body"})
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
        spec = _only_answer(body)
        if body.one_call and spec.form.tools and not spec.form.must_call:
            sentence = "In a batch an answer may call several tools: leave parallel_tool_calls out."
            raise ApiError("unsupported", sentence, param="parallel_tool_calls")
        if ignored := [*unknown(row, _OF_A_LINE), *body.ignored()]:
            spec = replace(spec, warnings=(f"Unknown fields were ignored: {named(ignored)}.",))
        return body.model, spec

    return read


def _only_answer(body: ChatBody | CompletionBody) -> ChatSpec:
    """What a line asks for. Raises ApiError for several answers: a line has one result."""
    if body.choices > 1:
        sentence = "In a batch a line has one answer: repeat the line with other seeds."
        raise ApiError("unsupported", sentence, param="n")
    first, *others = body.specs()
    if others:
        sentence = "In a batch a line has one prompt: send a line for each."
        raise ApiError("unsupported", sentence, param="prompt")
    return first


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
        # Results that an earlier release wrote have no reasoning tokens and no sampling.
        usage = Usage(**{item.name: used.get(item.name, 0) for item in fields(Usage)})
        name, fingerprint = self._models.get(result["model_id"], (result["model_id"], ""))
        warnings = result.get("warnings", ())
        kept = result.get("sampling")
        sampling = None if kept is None else sampling_used.completed(kept)
        answer = self._answer(
            request_id, self._created, name, fingerprint, warnings=warnings, sampling=sampling
        )
        last = result.get("last_logprob")
        end = Finished(
            result["finish_reason"],
            usage,
            stop_reason=result.get("stop_reason"),
            last=None if last is None else TokenLogprob.of_view(last),
        )
        return 200, answer.whole(_events(result), end)

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


def _events(result: Json) -> list[Event]:
    """The events that a line would have as a stream, but for its end."""
    calls = tuple(ToolCallDelta(**call) for call in result.get("tool_calls", ()))
    told = tuple(map(TokenLogprob.of_view, result.get("logprobs", ())))
    # As many ids as there are tokens; what they are doesn't matter here.
    ids = (0,) * len(told)
    text = Delta(result["text"], ids, result.get("reasoning", ""), calls, logprobs=told)
    if "prompt" not in result:
        return [text]
    prompt = tuple(map(TokenLogprob.of_view, result.get("prompt_logprobs", ())))
    return [Delta(result["prompt"], (), prompt=prompt), text]
