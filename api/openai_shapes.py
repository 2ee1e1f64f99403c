"""The shapes of OpenAI's request bodies, as far as this service understands them. Unknown fields are ignored.

Turns a body into what the service is asked for. Knows no models, queue or Redis.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, FailFast, Field

from api.acceptance import Ask, seed_or_any
from api.errors import ApiError
from api.images import Draft, ImageUrl
from api.jobs import Policy
from api.openai_schema import as_text
from api.openai_tools import MOST_TOOLS, Choice, Tools, calls_of
from api.requests import Lenient, ModelId, Text, as_url
from wire.messages import Form, Sampling, ToolCall

MAX_TOKENS = 32768
"""The most tokens an answer may have; who asks for more, or names no limit, gets this or the model's context."""
MOST_STOPS = 64
DEFAULT_TEMPERATURE = 1.0
DEFAULT_TOP_P = 1.0
NO_PENALTY = 1.0
DEFAULT_COMPLETION_TOKENS = 16
"""Of a completion that names no limit: a text that is only continued has no end of its own. OpenAI's default."""


class TextPart(Lenient):
    type: Literal["text"]
    text: Text


class Url(Lenient):
    url: Text


class ImagePart(Lenient):
    type: Literal["image_url"]
    image_url: Annotated[Url, BeforeValidator(as_url, json_schema_input_type=Url | str)]


def _as_parts(content: Any) -> Any:
    """A plain text, or nothing, as the parts that it stands for, so that there is one shape to report errors in."""
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Parts = Annotated[
    list[Annotated[TextPart | ImagePart, Field(discriminator="type")]],
    FailFast(),
    BeforeValidator(_as_parts),
]


class CalledFunction(Lenient):
    name: Text
    arguments: Text = "{}"


class CalledTool(Lenient):
    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Lenient):
    """One turn. Only an assistant's may be without content: it called tools instead."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Parts = Field(default_factory=list)
    name: Text | None = None
    tool_calls: Annotated[list[CalledTool], Field(max_length=MOST_TOOLS)] | None = None
    tool_call_id: Text | None = None

    def draft(self, place: int) -> Draft:
        """The message on its way to a job."""
        param = f"messages[{place}].content"
        if not self.content and not (self.role == "assistant" and self.tool_calls):
            raise ApiError("invalid_request", f"A message of role {self.role} needs content.", param=param)
        parts = tuple(
            part.text if isinstance(part, TextPart) else ImageUrl(part.image_url.url) for part in self.content
        )
        return Draft(
            "system" if self.role == "developer" else self.role,
            parts,
            name=self.name,
            tool_calls=tuple(
                ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
                for call in self.tool_calls or ()
            ),
            tool_call_id=self.tool_call_id,
        )


class StreamOptions(Lenient):
    include_usage: bool | None = None


def _as_list(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


class Generation(Lenient):
    """What the bodies of chats and of completions have in common."""

    model: ModelId
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.0, le=5.0, allow_inf_nan=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2.0, le=2.0, allow_inf_nan=False)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2.0, le=2.0, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Annotated[list[Text], Field(max_length=MOST_STOPS), BeforeValidator(_as_list)] | None = None
    n: int | None = None

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def refuse(self) -> None:
        """Raises ApiError for what can't be had: better than an answer without it."""
        if self.n not in (None, 1):
            raise _unsupported("n", "One answer a request: n must be 1.")

    def _sampling(self, most: int | None) -> Sampling:
        return Sampling(
            temperature=_given(self.temperature, DEFAULT_TEMPERATURE),
            top_p=_given(self.top_p, DEFAULT_TOP_P),
            repetition_penalty=_given(self.repetition_penalty, NO_PENALTY),
            max_tokens=min(MAX_TOKENS, MAX_TOKENS if most is None else most),
            seed=seed_or_any(self.seed),
            stop=tuple(text for text in self.stop or () if text),
            presence_penalty=_given(self.presence_penalty, 0.0),
            frequency_penalty=_given(self.frequency_penalty, 0.0),
        )


class TextFormat(Lenient):
    type: Literal["text"]


class ObjectFormat(Lenient):
    """Any JSON object."""

    type: Literal["json_object"]


class Schema(Lenient):
    """A schema by its field's name in OpenAI's API; ``strict`` asks to refuse what can't be
    enforced."""

    wanted: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class SchemaFormat(Lenient):
    type: Literal["json_schema"]
    json_schema: Schema


class ChatBody(Generation):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Message], FailFast(), Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    tools: Tools | None = None
    tool_choice: Choice | None = None
    functions: list[Any] | None = None
    response_format: TextFormat | ObjectFormat | SchemaFormat | None = Field(None, discriminator="type")

    def refuse(self) -> None:
        super().refuse()
        if self.logprobs:
            raise _unsupported("logprobs", "Log-probabilities are not offered.")
        if self.functions:
            raise _unsupported("functions", "Functions are called tools now: send tools.")

    def _form(self) -> Form:
        tools = () if self.tool_choice == "none" else tuple(tool.model_dump() for tool in self.tools or ())
        if self.tool_choice not in (None, "none", "auto"):
            return Form(separate=True, tools=tools, json_schema=calls_of(tools, self.tool_choice), must_call=True)
        schema = self._schema()
        if tools and schema is not None:
            raise _unsupported("response_format", "An answer is held to a schema or may call tools, not both.")
        return Form(separate=True, tools=tools, json_schema=schema)

    def _schema(self) -> str | None:
        if isinstance(self.response_format, SchemaFormat):
            held = self.response_format.json_schema
            return as_text(held.wanted, strict=bool(held.strict))
        return as_text({"type": "object"}) if isinstance(self.response_format, ObjectFormat) else None

    def ask(self) -> Ask:
        """The chat that is asked for. Raises ApiError for what can't be had."""
        self.refuse()
        most = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        drafts = [message.draft(place) for place, message in enumerate(self.messages)]
        return Ask(drafts, self._sampling(most), Policy("cancel"), self._form())


def _one_text(prompt: Any) -> Any:
    return prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt


class CompletionBody(Generation):
    """``POST /v1/completions``: one text, continued as it is."""

    prompt: Annotated[Text, BeforeValidator(_one_text), Field(min_length=1)]
    suffix: Text | None = None
    echo: bool | None = None
    logprobs: int | None = None
    best_of: int | None = None

    def refuse(self) -> None:
        super().refuse()
        if self.suffix:
            raise _unsupported("suffix", "A suffix is not offered: a prompt is only continued at its end.")
        if self.echo:
            raise _unsupported("echo", "The prompt is not echoed: echo must be false.")
        if self.logprobs:
            raise _unsupported("logprobs", "Log-probabilities are not offered.")
        if self.best_of not in (None, 1):
            raise _unsupported("best_of", "One answer a request: best_of must be 1.")

    def ask(self) -> Ask:
        """The continuation that is asked for. Raises ApiError for what can't be had."""
        self.refuse()
        most = DEFAULT_COMPLETION_TOKENS if self.max_tokens is None else self.max_tokens
        return Ask([Draft("user", (self.prompt,))], self._sampling(most), Policy("cancel"), Form(raw=True))


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _unsupported(param: str, sentence: str) -> ApiError:
    return ApiError("unsupported", sentence, param=param)
