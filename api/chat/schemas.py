"""The shapes of request bodies.

Strict: an unknown field, a wrong type or a broken text is refused by name.

Knows no models, queue or Redis.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    FailFast,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from api.chat.content import MAY_BE_EMPTY, StrictContentPart, as_parts, draft_parts
from api.chat.frames import WITH_LOGPROBS, WITH_REASONING, Likeliest, likeliest
from api.chat.request import ChatSpec, MaxQueue, NotBefore, seed_or_any
from api.chat.sampling import SamplingFields, TokenLimit, token_limit
from api.chat.template_options import TemplateKwargs, options_of
from api.images.draft import DraftMessage
from api.jobs.policy import AskedTier, Policy
from api.jobs.waiting.priorities import TIER_OF, Priority
from api.schemas import INTEGRAL, Body, KeepAlive, ModelId, Text
from wire.messages import MAX_SEED, OutputFormat, Role
from wire.models.reasoning_effort import ReasoningEffort
from wire.webhooks.outbox import of_chat


class ChatMessage(Body):
    """One turn. An assistant's and a tool's may be without content.

    ``reasoning`` is what an assistant thought before it; ``reasoning_content`` is its older name.
    """

    role: Literal["system", "user", "assistant", "tool", "developer"]
    content: Annotated[
        list[StrictContentPart],
        FailFast(),
        BeforeValidator(
            as_parts,
            json_schema_input_type=str | list[StrictContentPart] | None,
        ),
    ] = Field(default_factory=list, validate_default=True)
    reasoning: Text | None = None
    reasoning_content: Text | None = None

    @field_validator("content")
    @classmethod
    def _says_something(cls, content: list[Any], info: ValidationInfo) -> list[Any]:
        role = info.data.get("role")
        if not content and role is not None and role not in MAY_BE_EMPTY:
            raise ValueError(f"a message of role {role} needs content")
        return content

    @model_validator(mode="after")
    def _thinks(self) -> Self:
        if self.role != "assistant" and (self.reasoning or self.reasoning_content):
            raise ValueError("only a message of role assistant has reasoning")
        return self

    def draft(self) -> DraftMessage:
        """The message on its way to a job."""
        role: Role = "system" if self.role == "developer" else self.role
        return DraftMessage(
            role, draft_parts(self.content), reasoning=self.reasoning or self.reasoning_content
        )


class StreamOptionsBody(Body):
    include_usage: bool = False
    include_progress: bool = False

    def enabled(self) -> frozenset[str]:
        return frozenset(name for name in type(self).model_fields if getattr(self, name))


class ChatRequest(SamplingFields, Body):
    """``POST /api/engine/chat``."""

    model_id: ModelId
    messages: Annotated[list[ChatMessage], FailFast(), Field(min_length=1)]
    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] = 0.7
    max_tokens: TokenLimit = 512
    top_p: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.9
    repetition_penalty: Annotated[float, Field(ge=0.0, le=5.0, allow_inf_nan=False)] = 1.1
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), INTEGRAL] | None = None
    logprobs: bool | None = None
    top_logprobs: Likeliest | None = None
    include_reasoning: bool | None = None
    reasoning_effort: ReasoningEffort | None = None
    chat_template_kwargs: TemplateKwargs | None = None
    stream_options: StreamOptionsBody = StreamOptionsBody()
    on_disconnect: Literal["cancel", "continue"] = "cancel"
    webhook: bool | None = None
    priority: Priority | None = None
    max_queue_s: MaxQueue | None = None
    not_before: NotBefore | None = None
    keep_alive: KeepAlive | None = None

    def spec(self) -> ChatSpec:
        """The chat that is asked for. Raises ApiError where its fields contradict each other."""
        sampling = self.sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            max_tokens=token_limit(self.max_tokens),
            seed=seed_or_any(self.seed),
            logprobs=likeliest(self.logprobs, self.top_logprobs),
        )
        in_frames = self.stream_options.enabled() | self._in_frames()
        asked = None if self.priority is None else AskedTier(TIER_OF[self.priority], "priority")
        policy = Policy(
            self.on_disconnect,
            in_frames,
            of_chat if self.webhook else None,
            asked=asked,
            max_queue_s=self.max_queue_s,
            not_before_ms=self.not_before or 0,
            keep_alive_s=self.keep_alive,
        )
        drafts = [message.draft() for message in self.messages]
        form = OutputFormat(
            separate=bool(self.include_reasoning),
            template_options=options_of(self.chat_template_kwargs, self.reasoning_effort),
            continue_final=drafts[-1].can_go_on,
        )
        return ChatSpec(drafts, sampling, policy, form, left_open=self.left_open())

    def _in_frames(self) -> frozenset[str]:
        """What the frames have beside text."""
        wanted = {WITH_LOGPROBS: self.logprobs, WITH_REASONING: self.include_reasoning}
        return frozenset(name for name, is_wanted in wanted.items() if is_wanted)


class StopRequest(Body):
    """``POST /api/engine/chat/stop``; without a job id it means all chats of the caller."""

    job_id: Text | None = None
