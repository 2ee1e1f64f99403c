"""What a model is asked: the messages of a chat, how tokens are sampled, the form of the output."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from wire.messages.records import Record
from wire.versions import added

Role = Literal["system", "user", "assistant", "tool"]
MAX_SEED = 2**63 - 1
GREEDY_BELOW = 1e-5
"""Temperatures below this take the likeliest token: logits divided by them would be infinite. As
in vLLM."""
SMALLEST_PENALTY = 0.01
"""Smaller repetition penalties than this count as this, for the same reason."""
NO_PENALTY = (0.0, 1.0)
"""Repetition penalties that change nothing."""
RESERVED_OPTIONS = frozenset(
    {
        "messages",
        "conversation",
        "tools",
        "documents",
        "chat_template",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "tokenizer_kwargs",
        "processor_kwargs",
        "return_dict",
        "return_tensors",
        "return_assistant_tokens_mask",
        "padding",
        "truncation",
        "max_length",
        "bos_token",
        "eos_token",
        "raise_exception",
        "strftime_now",
    }
)
"""Arguments of a chat template, or of the call that renders it, that are no request's options."""


class TextPart(Record):
    type: Literal["text"] = "text"
    text: str


class ImagePart(Record):
    """An image, stored once as a clean PNG under its SHA-256, with its size in pixels."""

    type: Literal["image"] = "image"
    sha256: str
    width: int
    height: int


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ToolCall(Record):
    """A call of a tool that a model asked for; ``arguments`` is the JSON text of an object.

    Of a call that had to be made and was cut by its limit of tokens it is the beginning of such a
    text.
    """

    id: str
    name: str
    arguments: str


class Message(Record):
    """One turn of a chat.

    ``name`` is the speaker's or the tool's; ``tool_call_id`` is the call that a tool's message
    answers.

    ``reasoning`` is what an assistant thought before this message, for templates that take it.
    """

    role: Role
    content: str | tuple[Part, ...]
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = added(None, since=2, refines=True)

    def text(self) -> str:
        """The text of the message, its images left out."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    def images(self) -> tuple[ImagePart, ...]:
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, ImagePart))


class Sampling(Record):
    """How tokens are chosen; a request without a seed gets a random one when it is accepted."""

    temperature: float = 0.7
    top_p: float = 0.9
    repetition_penalty: float = 1.1
    max_tokens: int = 512
    seed: int
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


class OutputFormat(Record):
    """What the prompt and the answer are made of, beyond the text of a chat.

    ``raw``: the prompt is the one message's text as it is, without the chat template. ``separate``:
    the model's thinking and its tool calls are separated from its text. ``tools`` are what it may
    call, in OpenAI's shape. ``json_schema`` is the JSON text of the schema that the answer is held
    to; with ``must_call`` it is that of a call. ``truncation``: whether a conversation that doesn't
    fit loses its oldest turns or is refused. ``template_options`` is the JSON text of an object of
    variables for the chat template, such as ``enable_thinking``.
    """

    raw: bool = False
    separate: bool = False
    tools: tuple[dict[str, Any], ...] = ()
    json_schema: str | None = None
    must_call: bool = False
    truncation: Literal["auto", "disabled"] = added("auto", since=2, refines=True)
    template_options: str | None = added(None, since=3, refines=False)


PLAIN_TEXT = OutputFormat()


def too_long(context_window: int, tokens: str) -> str:
    """The message for a prompt that isn't shortened, in OpenAI's words: programs look for them."""
    return (
        f"This model's maximum context length is {context_window} tokens. However, your messages "
        f"resulted in "
        f"{tokens} tokens. Please reduce the length of the messages."
    )
