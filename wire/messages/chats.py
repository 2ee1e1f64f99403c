"""What a model is asked: the messages of a chat, how tokens are sampled, the form of the output."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from wire.messages.pooling import Pooling
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
REPETITION_CONTEXT_SIZE = 20
"""Last tokens to which the repetition penalty applies unless a request says otherwise: mlx_lm's
default."""
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
    """How tokens are chosen, and where an answer ends.

    A request without a seed gets a random one when it is accepted. ``top_k`` 0, ``min_p`` 0 and
    ``xtc_probability`` 0 change nothing; XTC drops tokens likelier than ``xtc_threshold``, all but
    the least likely of them. ``logit_bias`` has pairs of a token id and what is added to its logit.
    ``repetition_context_size`` is how many of the last tokens, those of the prompt included,
    ``repetition_penalty`` applies to; 0 is all of them. ``presence_penalty`` and
    ``frequency_penalty`` apply to the answer's tokens. ``thinking_budget`` is how many tokens the
    model may think; None is without limit.

    ``ignore_eos``: the model's end-of-text tokens don't end the answer, and are no text in it. A
    token of ``stop_token_ids`` ends it and is no text either. Before ``min_tokens`` tokens neither
    of them can come, and a text of ``stop`` is text. An answer held to a schema ends with the
    schema all the same: the schema's mask wins.

    ``logprobs`` asks for each token's log-probability and for those of so many of the likeliest
    tokens in its place; None asks for none. ``prompt_logprobs`` asks the same of the prompt's
    tokens, of a prompt that is echoed. ``max_tokens`` is 0 if only the prompt is asked for.
    """

    temperature: float = 0.7
    top_p: float = 0.9
    repetition_penalty: float = 1.1
    max_tokens: int = 512
    seed: int
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    top_k: int = added(0, since=4, refines=False)
    min_p: float = added(0.0, since=4, refines=False)
    xtc_probability: float = added(0.0, since=4, refines=False)
    xtc_threshold: float = added(0.0, since=4, refines=False)
    logit_bias: tuple[tuple[int, float], ...] = added((), since=4, refines=False)
    repetition_context_size: int = added(REPETITION_CONTEXT_SIZE, since=4, refines=False)
    ignore_eos: bool = added(False, since=4, refines=False)
    min_tokens: int = added(0, since=4, refines=False)
    stop_token_ids: tuple[int, ...] = added((), since=4, refines=False)
    thinking_budget: int | None = added(None, since=4, refines=False)
    logprobs: int | None = added(None, since=4, refines=False)
    prompt_logprobs: int | None = added(None, since=4, refines=False)


class Grammar(Record):
    """A regular expression, or a grammar in Lark's syntax as llguidance reads it, that a whole
    answer matches."""

    kind: Literal["regex", "lark"]
    text: str


class OutputFormat(Record):
    """What the prompt and the answer are made of, beyond the text of a chat.

    ``raw``: the prompt is the one message's text as it is, without the chat template. ``separate``:
    the model's thinking and its tool calls are separated from its text. ``tools`` are what it may
    call, in OpenAI's shape. ``json_schema`` is the JSON text of the schema that the answer is held
    to; with ``must_call`` it is that of a call. ``grammar`` is what the answer is held to in place
    of a schema. ``truncation``: whether a conversation that doesn't
    fit loses its oldest turns or is refused. ``template_options`` is the JSON text of an object of
    variables for the chat template, such as ``enable_thinking``. ``continue_final``: the answer
    goes on in the words of the last message, which is the assistant's. ``prompt_ids`` are the
    tokens of a ``raw`` prompt that was sent as such; its message has no text. ``echo``: the text of
    a raw prompt comes before its continuation. ``prompt_tools``: the model's chat template has no
    place for tools, so the prompt tells them as text; unless a call is a must, ``json_schema`` is
    that of a call, and other text is free. ``call_pieces``:
    tool calls are told in pieces, as the model writes them, and not each at its end.
    ``call_schema`` is the JSON text of the schema of a call where an answer is either calls or held
    to ``json_schema``. ``pooling``: vectors or scores of the messages' texts are asked for, and no
    answer; ``truncation`` then says whether texts are cut that are too long.
    """

    raw: bool = False
    separate: bool = False
    tools: tuple[dict[str, Any], ...] = ()
    json_schema: str | None = None
    must_call: bool = False
    truncation: Literal["auto", "disabled"] = added("auto", since=2, refines=True)
    template_options: str | None = added(None, since=3, refines=False)
    continue_final: bool = added(False, since=4, refines=False)
    grammar: Grammar | None = added(None, since=4, refines=False)
    prompt_ids: tuple[int, ...] = added((), since=4, refines=False)
    echo: bool = added(False, since=4, refines=False)
    prompt_tools: bool = added(False, since=4, refines=False)
    call_pieces: bool = added(False, since=4, refines=True)
    call_schema: str | None = added(None, since=4, refines=False)
    pooling: Pooling | None = added(None, since=4, refines=False)

    @property
    def is_guided(self) -> bool:
        """Whether the answer as a whole is held to something."""
        is_held = self.json_schema is not None or self.grammar is not None
        return is_held and not self.holds_calls

    @property
    def holds_calls(self) -> bool:
        """Whether only the calls in the answer are held to the schema."""
        is_generic = self.prompt_tools and not self.must_call and not self.may_call
        return is_generic and self.json_schema is not None

    @property
    def may_call(self) -> bool:
        """Whether the answer as a whole is either calls or held to the schema."""
        return self.call_schema is not None


PLAIN_TEXT = OutputFormat()


def too_long(context_window: int, tokens: int, room: int, *, at_least: bool = False) -> str:
    """The message for a prompt that isn't shortened: OpenAI's words, which programs look for, and
    by how much it is longer than the ``room`` for it. ``at_least``: not all of it was counted."""
    counted = "at least " if at_least else ""
    excess = "1 token" if tokens == room + 1 else f"{tokens - room} tokens"
    return (
        f"This model's maximum context length is {context_window} tokens. However, your messages "
        f"resulted in {counted}{tokens} tokens. Please reduce the length of the messages. The "
        f"prompt is {counted}{excess} too long: {room} fit beside the answer."
    )
