"""One line of an OpenAI batch: read as a prompt, and its result written in OpenAI's shape. Pure.

An endpoint says how its bodies are read and its answers written; the Responses API adds its own.
Knows no files and no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from api.batches.lines import checked
from api.chat.request import ChatSpec
from api.errors import ApiError
from api.openai.responses import Answer, ChatAnswer, CompletionAnswer, Json
from api.openai.schemas import ChatBody, CompletionBody
from api.serving.fields import named, unknown
from api.serving.generation import Waiting
from wire import sampling_used
from wire.messages import Delta, ErrorCode, Event, Finished, TokenLogprob, ToolCallDelta, Usage

Read = Callable[[Json], tuple[str | None, ChatSpec]]
ReadBody = Callable[[Json], tuple[str | None, ChatSpec, Sequence[str]]]
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
_OF_A_LINE = frozenset({"custom_id", "method", "url", "body"})
EXPIRED: Json = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """What the answer to a line is made of, beside its events. ``created`` is in seconds,
    ``asked`` what the line's reader left for the answer."""

    request_id: str
    created: int
    model: str
    fingerprint: str
    warnings: Sequence[str]
    sampling: Json | None
    asked: str


Write = Callable[[Answered, Sequence[Event], Finished], Json]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What batches can be for. ``param_of`` names the field that a line's bad end is the fault
    of."""

    read: Read
    write: Write
    param_of: Callable[[ErrorCode], str | None]


Endpoints = Mapping[str, Endpoint]


def reader(endpoint: str, read_body: ReadBody) -> Read:
    """What reads the lines of a batch for this endpoint, raising ApiError as a request does.

    ``read_body`` makes a body into a model's name, what is asked of it, and the fields that were
    ignored.
    """

    def read(row: Json) -> tuple[str | None, ChatSpec]:
        if row.get("method") != "POST":
            raise ApiError("invalid_request", "The method must be POST.", param="method")
        if row.get("url") != endpoint:
            raise ApiError(
                "invalid_request", f"The url must be that of the batch, {endpoint}.", param="url"
            )
        if not isinstance(row.get("body"), dict):
            raise ApiError("invalid_request", "The body must be an object.", param="body")
        model, spec, ignored = read_body(row["body"])
        if ignored := [*unknown(row, _OF_A_LINE), *ignored]:
            warning = f"Unknown fields were ignored: {named(ignored)}."
            spec = replace(spec, warnings=(warning, *spec.warnings))
        return model, spec

    return read


def refuse_stream(asked: bool | None) -> None:
    """Raises ApiError for a line that asks for a stream."""
    if asked:
        raise ApiError("unsupported", "A batch has no streams.", param="stream")


def refuse_order(body: Waiting) -> None:
    """Raises ApiError for a line that asks for an order of its own."""
    asked = [name for name in ("max_queue_s", "not_before") if getattr(body, name) is not None]
    if (tier := body.asked_tier()) is not None and tier.tier == "priority":
        asked = [tier.param, *asked]
    if asked:
        sentence = "The lines of a batch run in the time that chats leave free, in turns of keys."
        raise ApiError("unsupported", sentence, param=asked[0])


def _body_reader(shape: type[ChatBody | CompletionBody]) -> ReadBody:
    def read(sent: Json) -> tuple[str | None, ChatSpec, Sequence[str]]:
        body = checked(shape, sent)
        refuse_stream(body.stream)
        refuse_order(body)
        spec = _only_answer(body)
        if body.one_call and spec.form.tools and not spec.form.must_call:
            sentence = "In a batch an answer may call several tools: leave parallel_tool_calls out."
            raise ApiError("unsupported", sentence, param="parallel_tool_calls")
        return body.model, spec, body.ignored()

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


def _writer(kind: type[Answer]) -> Write:
    def write(answered: Answered, events: Sequence[Event], end: Finished) -> Json:
        answer = kind(
            answered.request_id,
            answered.created,
            answered.model,
            answered.fingerprint,
            warnings=answered.warnings,
            sampling=answered.sampling,
        )
        return answer.whole(events, end)

    return write


ENDPOINTS: Endpoints = {
    CHAT: Endpoint(reader(CHAT, _body_reader(ChatBody)), _writer(ChatAnswer), ChatAnswer.param_of),
    COMPLETION: Endpoint(
        reader(COMPLETION, _body_reader(CompletionBody)),
        _writer(CompletionAnswer),
        CompletionAnswer.param_of,
    ),
}


class ResultLines:
    """Writes results as OpenAI's lines.

    ``models``: name and fingerprint by model id; ``created`` is in seconds.
    """

    def __init__(
        self,
        batch_id: str,
        endpoint: Endpoint,
        created: int,
        models: Mapping[str, tuple[str, str]],
    ) -> None:
        self._batch_id = batch_id
        self._endpoint = endpoint
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
        kept = result.get("sampling")
        answered = Answered(
            request_id,
            self._created,
            name,
            fingerprint,
            result.get("warnings", ()),
            None if kept is None else sampling_used.completed(kept),
            result.get("asked", ""),
        )
        last = result.get("last_logprob")
        end = Finished(
            result["finish_reason"],
            usage,
            stop_reason=result.get("stop_reason"),
            last=None if last is None else TokenLogprob.of_view(last),
        )
        return 200, self._endpoint.write(answered, _events(result), end)

    def _failed(self, error: Json) -> tuple[int, Json]:
        refused = ApiError(
            error["code"],
            error["message"],
            param=error.get("param") or self._endpoint.param_of(error["code"]),
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
