"""The events of a job that a worker writes: deltas, warnings, progress and the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from wire.messages.chats import ToolCall
from wire.messages.error_codes import ErrorCode
from wire.messages.logprobs import TokenLogprob

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer; ``cached_tokens`` of the prompt came from the prompt cache.

    ``reasoning_tokens`` of the answer are thinking: those between the marks that the model writes
    around it.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, in milliseconds; the rate is of decoding alone.

    ``draft_tokens`` were guessed and computed beside others; ``accepted_tokens`` of them were
    right.
    """

    queue_ms: float = 0.0
    load_ms: float = 0.0
    prefill_ms: float = 0.0
    ttft_ms: float = 0.0
    tokens_per_second: float = 0.0
    draft_tokens: int = 0
    accepted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """What the worker that ended a job ran it with, for its receipt.

    ``libraries`` are versions of packages by name. ``peak_memory_bytes`` is the most that MLX held
    in its steps, everything that was there beside it included; 0: not measured.
    """

    libraries: Mapping[str, str]
    peak_memory_bytes: int = 0


class ToolCallDelta(NamedTuple):
    """A tool call, or a part of one.

    With a name it begins a call, and may be all of it. Without one it goes on with the call that
    was begun last: ``arguments`` are the next characters of the JSON text.
    """

    id: str
    name: str
    arguments: str


def whole_calls(items: Iterable[ToolCallDelta]) -> tuple[ToolCall, ...]:
    """The calls that some items make up, from the first one of a call on."""
    calls: list[tuple[ToolCallDelta, list[str]]] = []
    for item in items:
        if item.name:
            calls.append((item, []))
        calls[-1][1].append(item.arguments)
    return tuple(
        ToolCall(id=first.id, name=first.name, arguments="".join(pieces)) for first, pieces in calls
    )


class Piece(NamedTuple):
    """What one engine step added to a delta: tokens, characters of text and reasoning, items of
    tool calls."""

    tokens: int
    text: int
    reasoning: int = 0
    calls: int = 0

    @property
    def positions(self) -> int:
        """How many positions of the answer it takes, one at least.

        Text that was held back until the end has no tokens of its own; with a position, a client's
        cursor can lie before or after it.
        """
        return max(1, self.tokens)

    def joined(self, other: Piece) -> Piece:
        return Piece(*(mine + others for mine, others in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Delta:
    """New text and the ids of its tokens, which may outnumber the text's at a cut character.

    ``reasoning`` (what the model thinks before it answers) and ``tool_calls`` are separate from
    the text for jobs that ask for it; calls come whole, or in pieces if the job asks for those. One
    event holds all that came of its tokens, so that a log never ends between the two. ``pieces``
    are those of a delta that was made of several: it can be cut between them.

    ``logprobs``, for jobs that ask for them, has an item for each of ``token_ids``. ``prompt`` is
    None unless the delta's text is the prompt, echoed: then it has the log-probabilities of the
    prompt's tokens, or is empty if only the text was asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    pieces: tuple[Piece, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt: tuple[TokenLogprob, ...] | None = None

    @property
    def positions(self) -> int:
        """How many positions of the answer it takes."""
        if not self.pieces:  # As nearly always, and asked for with every token: no piece is made.
            return max(1, len(self.token_ids))
        return sum(piece.positions for piece in self.pieces)

    @property
    def cuts(self) -> tuple[Piece, ...]:
        """Its pieces, also if it is a single one."""
        return self.pieces or (
            Piece(len(self.token_ids), len(self.text), len(self.reasoning), len(self.tool_calls)),
        )

    def apart(self) -> list[Delta]:
        """What each engine step added, as deltas of their own."""
        if not self.pieces:
            return [self]
        made, at = [], Piece(0, 0)
        for piece in self.pieces:
            to = at.joined(piece)
            made.append(
                Delta(
                    self.text[at.text : to.text],
                    self.token_ids[at.tokens : to.tokens],
                    self.reasoning[at.reasoning : to.reasoning],
                    self.tool_calls[at.calls : to.calls],
                    logprobs=self.logprobs[at.tokens : to.tokens],
                )
            )
            at = to
        return made


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
    """The successful end. ``result`` answers a :class:`ModelCommand`; a chat has none.

    ``stop_reason`` is the stop text that ended the answer, or the id of the token in
    ``stop_token_ids`` that did, if one did. ``last``, for jobs that ask for log-probabilities, is
    that of the token that ended the answer and is no text. ``run`` is added as it is logged.
    """

    finish_reason: FinishReason
    usage: Usage = Usage()
    timings: Timings = Timings()
    result: dict[str, Any] | None = None
    stop_reason: str | int | None = None
    last: TokenLogprob | None = None
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The failed end: a code from :data:`ErrorCode`, and a message that quotes no request.

    ``param`` is the field of the request at fault, if it is one.
    """

    code: ErrorCode
    message: str
    usage: Usage = Usage()
    timings: Timings = Timings()
    param: str | None = None
    run: Run | None = None


LoggedEvent = Delta | Warning | Finished | Failed
Event = LoggedEvent | Progress


def is_terminal(event: Event) -> bool:
    """Whether nothing may follow the event."""
    return isinstance(event, (Finished, Failed))
