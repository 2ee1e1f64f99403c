"""OpenAI's request bodies: every field here is honoured; see other_fields for others.

Turns a body into what the service is asked for. Knows no models, queue or Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, FailFast, Field

from api.chat.json_schema import as_text
from api.chat.request import ChatSpec, seed_or_any
from api.chat.template_options import Effort, TemplateKwargs, options_of
from api.errors import ApiError
from api.images.draft import DraftMessage
from api.jobs.queue import Policy
from api.openai import other_fields
from api.openai.messages import Message, Open
from api.openai.other_fields import Harmless
from api.openai.tools import Choice, Tools, calls_of
from api.schemas import Lenient, Text, whole
from wire.messages import OutputFormat, Sampling

MAX_TOKENS = 32768
"""The most tokens an answer may have; who asks for more, or names no limit, gets this or the
model's context."""
MOST_STOPS = 64
DEFAULT_TEMPERATURE = 1.0
DEFAULT_TOP_P = 1.0
NO_PENALTY = 1.0
DEFAULT_COMPLETION_TOKENS = 16
"""Of a completion that names no limit: a text that is only continued has no end of its own.
OpenAI's default."""


class StreamOptions(Open):
    include_usage: bool | None = None


def _as_list(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


class Generation(Open):
    """What the bodies of chats and of completions have in common.

    Without a ``model`` the default one is meant.
    """

    refused: ClassVar[Mapping[str, Harmless]]

    model: Annotated[str, Field(max_length=255), AfterValidator(whole)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.0, le=5.0, allow_inf_nan=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2.0, le=2.0, allow_inf_nan=False)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2.0, le=2.0, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Annotated[list[Text], Field(max_length=MOST_STOPS), BeforeValidator(_as_list)] | None = (
        None
    )

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def most_tokens(self) -> int | None:
        """The limit that was asked for, by its newer name or its older."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def refuse(self) -> None:
        """Raises ApiError for what can't be had: better than an answer without it."""
        other_fields.refuse(self.others, self.refused)
        if self.stream_options is not None:
            other_fields.refuse(
                self.stream_options.others, other_fields.STREAM_REFUSED, "stream_options."
            )

    def ignored(self) -> list[str]:
        """The unknown fields, so that they can be named."""
        known = (self.refused, other_fields.WITHOUT_EFFECT)
        unknown_fields = other_fields.unknown(self.others, *known)
        if self.stream_options is not None:
            known = (other_fields.STREAM_REFUSED, other_fields.STREAM_WITHOUT_EFFECT)
            unknown_fields += other_fields.unknown(
                self.stream_options.others, *known, prefix="stream_options."
            )
        return unknown_fields

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
    """A named JSON schema; ``strict`` asks to refuse what can't be enforced."""

    definition: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class SchemaFormat(Lenient):
    type: Literal["json_schema"]
    json_schema: Schema


class ChatBody(Generation):
    """``POST /v1/chat/completions``."""

    refused = other_fields.REFUSED | other_fields.ON_CHATS

    messages: Annotated[list[Message], FailFast(), Field(min_length=1)]
    tools: Tools | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: TextFormat | ObjectFormat | SchemaFormat | None = Field(
        None, discriminator="type"
    )
    chat_template_kwargs: TemplateKwargs | None = None
    reasoning_effort: Effort | None = None

    def ignored(self) -> list[str]:
        known = (other_fields.MESSAGE_REFUSED, other_fields.MESSAGE_WITHOUT_EFFECT)
        unknown_fields = [
            other_fields.unknown(message.others, *known, prefix="messages[].")
            for message in self.messages
        ]
        return super().ignored() + [name for names in unknown_fields for name in names]

    def _form(self) -> OutputFormat:
        tools = (
            ()
            if self.tool_choice == "none"
            else tuple(tool.model_dump() for tool in self.tools or ())
        )
        if self.tool_choice not in (None, "none", "auto"):
            called = calls_of(tools, self.tool_choice)
            return OutputFormat(
                separate=True,
                tools=tools,
                json_schema=called,
                must_call=True,
                truncation="disabled",
            )
        schema = self._schema()
        if tools and schema is not None:
            raise _unsupported(
                "response_format", "An answer is held to a schema or may call tools, not both."
            )
        return OutputFormat(separate=True, tools=tools, json_schema=schema, truncation="disabled")

    def _schema(self) -> str | None:
        if isinstance(self.response_format, SchemaFormat):
            schema_format = self.response_format.json_schema
            return as_text(schema_format.definition, strict=bool(schema_format.strict))
        return (
            as_text({"type": "object"}) if isinstance(self.response_format, ObjectFormat) else None
        )

    @property
    def one_call(self) -> bool:
        """Whether of several calls only the first is wanted."""
        return self.parallel_tool_calls is False

    def spec(self) -> ChatSpec:
        """The chat that is asked for. Raises ApiError for what can't be had."""
        self.refuse()
        drafts = [message.draft(index) for index, message in enumerate(self.messages)]
        form = self._form()
        options = options_of(
            self.chat_template_kwargs,
            self.reasoning_effort,
            has_schema=form.json_schema is not None,
        )
        form = form.model_copy(update={"template_options": options})
        return ChatSpec(drafts, self._sampling(self.most_tokens), Policy("cancel"), form)


def _one_text(prompt: Any) -> Any:
    return prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt


class CompletionBody(Generation):
    """``POST /v1/completions``: one text, continued as it is."""

    refused = other_fields.REFUSED | other_fields.ON_COMPLETIONS
    one_call: ClassVar[bool] = False

    prompt: Annotated[Text, BeforeValidator(_one_text), Field(min_length=1)]

    def spec(self) -> ChatSpec:
        """The continuation that is asked for. Raises ApiError for what can't be had."""
        self.refuse()
        most = DEFAULT_COMPLETION_TOKENS if self.most_tokens is None else self.most_tokens
        form = OutputFormat(raw=True, truncation="disabled")
        return ChatSpec(
            [DraftMessage("user", (self.prompt,))], self._sampling(most), Policy("cancel"), form
        )


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _unsupported(param: str, sentence: str) -> ApiError:
    return ApiError("unsupported", sentence, param=param)
