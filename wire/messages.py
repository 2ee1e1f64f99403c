"""The records that cross Redis: a chat job on its way to a worker, and the events on their way
back.

Owns shapes and names only. Knows nothing of queues, streams or models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from wire.versions import added

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "cancelled", "error"]
ErrorCode = Literal[
    "bad_request",
    "unauthorized",
    "forbidden",
    "not_found",
    "job_not_found",
    "model_not_found",
    "method_not_allowed",
    "conflict",
    "expired",
    "too_large",
    "unsupported_media_type",
    "invalid_request",
    "unsupported",
    "invalid_schema",
    "prompt_too_long",
    "invalid_image",
    "queue_full",
    "images_full",
    "batches_full",
    "batch_not_found",
    "busy",
    "redis_unavailable",
    "redis_full",
    "no_worker",
    "workers_outdated",
    "suspended",
    "load_conflict",
    "load_failed",
    "insufficient_memory",
    "insufficient_disk",
    "template_failed",
    "engine_failed",
    "job_lost",
    "job_timeout",
    "gave_up_after_crashes",
    "job_unreadable",
    "model_changed",
    "bad_prompt",
    "internal_error",
]

MAX_SEED = 2**63 - 1
GREEDY_BELOW = 1e-5
"""Temperatures below this take the likeliest token: logits divided by them would be infinite. As
in vLLM."""
SMALLEST_PENALTY = 0.01
"""Smaller repetition penalties than this count as this, for the same reason."""
NO_PENALTY = (0.0, 1.0)
"""Repetition penalties that change nothing."""


class Record(BaseModel):
    """Base of everything stored as JSON in Redis: frozen, and a field it doesn't know is an error.

    Processes of two releases share a Redis while machines are updated: declare a new field with
    :func:`wire.versions.added`, never with a plain default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class TolerantRecord(Record):
    """A record that only informs: what a later release adds to it is ignored by its readers."""

    model_config = ConfigDict(extra="ignore")


class TextPart(Record):
    type: Literal["text"] = "text"
    text: str


class ImagePart(Record):
    """An image stored once, as a clean PNG, under its SHA-256; ``width`` and ``height`` are that
    picture's pixels."""

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
    """One turn. ``name`` is the speaker's or the tool's; ``tool_call_id`` is the call that a tool's
    message answers.

    ``reasoning`` is what an assistant thought before it said this, for templates that take it.
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
    """How tokens are chosen. The seed is always set: an unseeded request gets a random one when
    it is accepted."""

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
    the model's thinking and its tool calls are told apart from its text. ``tools`` are what it may
    call, in OpenAI's shape. ``json_schema`` is the JSON text of the schema that the answer is held
    to; with ``must_call`` it is that of a call. ``truncation``: whether a conversation that doesn't
    fit loses its oldest turns or is refused.
    """

    raw: bool = False
    separate: bool = False
    tools: tuple[dict[str, Any], ...] = ()
    json_schema: str | None = None
    must_call: bool = False
    truncation: Literal["auto", "disabled"] = added("auto", since=2, refines=True)


PLAIN_TEXT = OutputFormat()


def too_long(context_window: int, tokens: str) -> str:
    """What is said of a prompt that isn't shortened, in OpenAI's words: programs look for them."""
    return (
        f"This model's maximum context length is {context_window} tokens. However, your messages "
        f"resulted in "
        f"{tokens} tokens. Please reduce the length of the messages."
    )


class ChatJob(Record):
    """One chat request as a worker sees it. ``submitted_ms`` is Redis time, in milliseconds
    since the epoch."""

    job_id: str
    owner: str
    model_id: str
    model_revision: str
    messages: tuple[Message, ...]
    sampling: Sampling
    form: OutputFormat = PLAIN_TEXT
    submitted_ms: int


class ModelCommand(Record):
    """Something to do with models, run by a worker as a job whose end carries the answer."""

    job_id: str
    action: Literal["load", "unload", "register", "scan", "download", "delete"]
    model_id: str | None = None
    kv_quantization: Literal[4, 8] | None = None
    name: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer; ``cached_tokens`` of the prompt came from the prompt cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, in milliseconds; the rate is of decoding alone."""

    queue_ms: float = 0.0
    load_ms: float = 0.0
    prefill_ms: float = 0.0
    ttft_ms: float = 0.0
    tokens_per_second: float = 0.0


class Piece(NamedTuple):
    """What came at once in a delta: how many tokens, and of what they say how many characters
    and calls."""

    tokens: int
    text: int
    reasoning: int = 0
    calls: int = 0

    @property
    def positions(self) -> int:
        """How many positions of the answer it takes: what is held back until the end has none of
        the tokens, and one position of its own, so that a client can have seen it or not."""
        return max(1, self.tokens)

    def joined(self, other: Piece) -> Piece:
        return Piece(*(mine + others for mine, others in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Delta:
    """New text, with the ids of the tokens it came from; the ids may outnumber the text's tokens at
    a cut character.

    ``reasoning`` (what the model thinks before it answers) and ``tool_calls`` are told apart from
    the text for jobs that ask for it. One event holds all that came of its tokens, so that a log
    never ends between the two. ``pieces`` are those of a delta that was made of several: it can be
    cut between them.
    """

    text: str
    token_ids: tuple[int, ...]
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    pieces: tuple[Piece, ...] = ()

    @property
    def positions(self) -> int:
        """How many positions of the answer it takes."""
        return sum(piece.positions for piece in self.cuts)

    @property
    def cuts(self) -> tuple[Piece, ...]:
        """Its pieces, also if it is a single one."""
        return self.pieces or (
            Piece(len(self.token_ids), len(self.text), len(self.reasoning), len(self.tool_calls)),
        )


@dataclass(frozen=True, slots=True)
class Warning:
    """A sentence for the reader; generation goes on."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job is before its first token. Published, never logged: nothing is lost with it."""

    state: Literal["loading", "prefill"]
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The good end. ``result`` answers a :class:`ModelCommand`; a chat has none.

    ``stop_reason`` is the stop text that ended the answer, if one did.
    """

    finish_reason: FinishReason
    usage: Usage = Usage()
    timings: Timings = Timings()
    result: dict[str, Any] | None = None
    stop_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The bad end: a code from :data:`ErrorCode` and a sentence that echoes nothing of the
    request."""

    code: ErrorCode
    message: str
    usage: Usage = Usage()
    timings: Timings = Timings()


LoggedEvent = Delta | Warning | Finished | Failed
Event = LoggedEvent | Progress


def is_terminal(event: Event) -> bool:
    """Whether nothing may follow the event."""
    return isinstance(event, (Finished, Failed))
