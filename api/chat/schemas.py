"""The shapes of request bodies.

Strict: an unknown field, a wrong type or a broken text is refused by name.

Knows no models, queue or Redis.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    FailFast,
    Field,
    model_validator,
)

from api.chat.content import StrictContentPart, as_parts, draft_parts
from api.chat.request import ChatSpec, seed_or_any
from api.images.draft import DraftMessage
from api.jobs.queue import Policy
from api.schemas import Body, ModelId, Text
from wire.messages import MAX_SEED, Role, Sampling


class ChatMessage(Body):
    """One turn. ``reasoning`` is what an assistant thought before it; ``reasoning_content`` is its
    older name."""

    role: Literal["system", "user", "assistant", "tool", "developer"]
    content: Annotated[
        list[StrictContentPart], FailFast(), Field(min_length=1), BeforeValidator(as_parts)
    ]

    reasoning: Text | None = None
    reasoning_content: Text | None = None

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


class ChatRequest(Body):
    """``POST /api/engine/chat``."""

    model_id: ModelId
    messages: Annotated[list[ChatMessage], FailFast(), Field(min_length=1)]
    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] = 0.7
    max_tokens: Annotated[int, Field(ge=1, le=32768)] = 512
    top_p: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.9
    repetition_penalty: Annotated[float, Field(ge=0.0, le=5.0, allow_inf_nan=False)] = 1.1
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    stream_options: StreamOptionsBody = StreamOptionsBody()
    on_disconnect: Literal["cancel", "continue"] = "cancel"

    def spec(self) -> ChatSpec:
        """The chat that is asked for."""
        sampling = Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            max_tokens=self.max_tokens,
            seed=seed_or_any(self.seed),
        )
        policy = Policy(self.on_disconnect, self.stream_options.enabled())
        return ChatSpec([message.draft() for message in self.messages], sampling, policy)


class StopRequest(Body):
    """``POST /api/engine/chat/stop``; without a job id it means all chats of the caller."""

    job_id: Text | None = None
