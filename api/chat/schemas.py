"""The shapes of request bodies. Strict: an unknown field, a wrong type or a broken text is refused
by name.

Knows no models, queue or Redis.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    FailFast,
    Field,
)

from api.chat.request import ChatSpec, seed_or_any
from api.images.draft import DraftMessage, ImageUrl
from api.jobs.queue import Policy
from api.schemas import Body, ModelId, Text
from wire.messages import MAX_SEED, Sampling


class TextContent(Body):
    type: Literal["text"]
    text: Text


class Url(Body):
    url: Text


def as_url(image: Any) -> Any:
    """A URL by itself, as many clients send it, in the object that OpenAI's API has for it."""
    return {"url": image} if isinstance(image, str) else image


class ImageContent(Body):
    type: Literal["image_url"]
    image_url: Annotated[Url, BeforeValidator(as_url, json_schema_input_type=Url | str)]


def _as_parts(content: Any) -> Any:
    """A plain text as the list of parts that it stands for, so that there is one shape to report
    errors in."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


ContentPart = Annotated[TextContent | ImageContent, Field(discriminator="type")]


class ChatMessage(Body):
    role: Literal["system", "user", "assistant", "tool", "developer"]
    content: Annotated[
        list[ContentPart], FailFast(), Field(min_length=1), BeforeValidator(_as_parts)
    ]

    def draft(self) -> DraftMessage:
        """The message on its way to a job."""
        parts = tuple(
            part.text if isinstance(part, TextContent) else ImageUrl(part.image_url.url)
            for part in self.content
        )
        return DraftMessage("system" if self.role == "developer" else self.role, parts)


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
