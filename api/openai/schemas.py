"""OpenAI's request bodies: every field here is honoured; see other_fields for others.

Turns a body into what the service is asked for. Knows no models, queue or Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, FailFast, Field

from api.chat.frames import Likeliest, likeliest
from api.chat.json_schema import ANY_OBJECT, as_text
from api.chat.request import ChatSpec
from api.chat.sampling import CappedTokenLimit, EchoTokenLimit
from api.chat.template_options import TemplateKwargs, options_of
from api.errors import ApiError
from api.images.draft import DraftMessage
from api.openai import other_fields
from api.openai.continuation import goes_on
from api.openai.guided import (
    Guided,
    ObjectFormat,
    SchemaFormat,
    TextFormat,
    several_guides,
)
from api.openai.messages import Message
from api.openai.prompts import Prompt, Prompts
from api.openai.tools import Choice, Tools, calls_of
from api.schemas import INTEGRAL, whole
from api.serving.fields import Harmless, unknown
from api.serving.generation import Sampled, ThinkingLimit, Tiered
from api.serving.open_body import Open
from api.serving.output_format import Guide, format_of_chat, guided
from wire.messages import OutputFormat, Sampling
from wire.models.reasoning_effort import ReasoningEffort

MOST_CHOICES = 16
"""Answers to one prompt."""
MOST_ANSWERS = 128
"""Answers to all prompts of a request: each is a job with a stream of its own."""
DEFAULT_COMPLETION_TOKENS = 16
"""Of a completion that names no limit: a text that is only continued has no end of its own.
OpenAI's default."""


class StreamOptions(Open):
    include_usage: bool | None = None


class Generation(Sampled, Guided, Tiered):
    """What the bodies of chats and of completions have in common.

    Without a ``model`` the default one is meant.
    """

    refused: ClassVar[Mapping[str, Harmless]]

    model: Annotated[str, Field(max_length=255), AfterValidator(whole)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: CappedTokenLimit | None = None
    max_completion_tokens: CappedTokenLimit | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES), INTEGRAL] | None = None

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def choices(self) -> int:
        """How many answers each prompt gets."""
        return 1 if self.n is None else self.n

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
        unknown_fields = [*unknown(self.others, *known), *self.unknown_below]
        if self.stream_options is not None:
            known = (other_fields.STREAM_REFUSED, other_fields.STREAM_WITHOUT_EFFECT)
            unknown_fields += unknown(self.stream_options.others, *known, prefix="stream_options.")
        return unknown_fields

    def _spec(
        self,
        drafts: list[DraftMessage],
        sampling: Sampling,
        form: OutputFormat,
        guide: Guide | None,
    ) -> ChatSpec:
        held_by = "response_format" if guide is None else guide.param
        return ChatSpec(
            drafts,
            sampling,
            self.policy(),
            form,
            held_by=held_by,
            left_open=self.left_open(),
            choices=self.choices,
        )


class ChatBody(Generation, ThinkingLimit):
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
    reasoning_effort: ReasoningEffort | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    logprobs: bool | None = None
    top_logprobs: Likeliest | None = None

    def ignored(self) -> list[str]:
        known = (other_fields.MESSAGE_REFUSED, other_fields.MESSAGE_WITHOUT_EFFECT)
        unknown_fields = [
            unknown(message.others, *known, prefix="messages[].") for message in self.messages
        ]
        below = [f"messages[].{name}" for turn in self.messages for name in turn.unknown_below]
        return super().ignored() + below + [name for names in unknown_fields for name in names]

    def _form(self, guide: Guide | None) -> OutputFormat:
        tools = (
            ()
            if self.tool_choice == "none"
            else tuple(tool.model_dump() for tool in self.tools or ())
        )
        several = self.parallel_tool_calls is True
        is_forced = self.tool_choice not in (None, "none", "auto")
        called = partial(calls_of, tools, self.tool_choice, several=several)
        return format_of_chat(
            tools,
            guide,
            called=called if is_forced else None,
            truncation=self.truncation or "disabled",
        )

    def _guide(self) -> Guide | None:
        guide, schema = self.guide(), self._schema()
        if schema is None:
            return guide
        if guide is not None:
            raise several_guides("response_format", guide.param)
        return Guide("response_format", json_schema=schema)

    def _schema(self) -> str | None:
        if isinstance(self.response_format, SchemaFormat):
            schema_format = self.response_format.json_schema
            return as_text(schema_format.definition, strict=bool(schema_format.strict))
        if isinstance(self.response_format, ObjectFormat):
            return as_text(self.response_format.definition or ANY_OBJECT)
        return None

    @property
    def one_call(self) -> bool:
        """Whether of several calls only the first is wanted."""
        return self.parallel_tool_calls is False

    def specs(self) -> list[ChatSpec]:
        """The one chat that is asked for. Raises ApiError for what can't be had."""
        self.refuse()
        drafts = [message.draft(index) for index, message in enumerate(self.messages)]
        guide = self._guide()
        form = self._form(guide)
        options = options_of(self.chat_template_kwargs, self.reasoning_effort)
        continues = goes_on(
            drafts,
            asked=self.continue_final_message,
            prefixes=[bool(message.prefix) for message in self.messages],
            new_turn=self.add_generation_prompt,
            has_schema=form.is_guided,
        )
        form = form.model_copy(update={"template_options": options, "continue_final": continues})
        asked = {
            "thinking_budget": self.thinking_budget,
            "logprobs": likeliest(self.logprobs, self.top_logprobs),
        }
        sampling = self.sampled(self.most_tokens).model_copy(update=asked)
        spec = self._spec(drafts, sampling, form, guide)
        return [replace(spec, call_schema=partial(calls_of, form.tools, None))]


class CompletionBody(Generation):
    """``POST /v1/completions``: texts, continued as they are."""

    refused = other_fields.REFUSED | other_fields.ON_COMPLETIONS
    one_call: ClassVar[bool] = False

    prompt: Prompts
    max_tokens: EchoTokenLimit | None = None
    echo: bool | None = None
    logprobs: Likeliest | None = None

    def specs(self) -> list[ChatSpec]:
        """The continuation of each prompt. Raises ApiError for what can't be had."""
        self.refuse()
        if len(self.prompt) * self.choices > MOST_ANSWERS:
            sentence = f"A request has {MOST_ANSWERS} answers at most, n of each prompt."
            raise ApiError("invalid_request", sentence, param="n")
        return [self._continuation(prompt) for prompt in self.prompt]

    def _continuation(self, prompt: Prompt) -> ChatSpec:
        most = DEFAULT_COMPLETION_TOKENS if self.most_tokens is None else self.most_tokens
        if most == 0 and not self.echo:
            sentence = "max_tokens: 0 is for a prompt that is echoed: without echo, ask for 1."
            raise ApiError("invalid_request", sentence, param="max_tokens")
        guide = self.guide()
        text, ids = (prompt, ()) if isinstance(prompt, str) else ("", prompt)
        form = OutputFormat(raw=True, truncation="disabled", prompt_ids=ids, echo=bool(self.echo))
        asked = {
            "logprobs": self.logprobs,
            "prompt_logprobs": self.logprobs if self.echo else None,
        }
        sampling = self.sampled(most).model_copy(update=asked)
        drafts = [DraftMessage("user", (text,))]
        return self._spec(drafts, sampling, guided(form, guide), guide)
