"""One chat inside the engine: its tokens, its text, its times, and how it ended.

Knows no queue, no Redis and no MLX: a backend provides the decoder, the engine adds tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from wire.messages import (
    ChatJob,
    Delta,
    Failed,
    Finished,
    FinishReason,
    LoggedEvent,
    Timings,
    ToolCall,
    Usage,
)


class Output(NamedTuple):
    """Decoded output of a model: text, reasoning, tool calls."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()

    @classmethod
    def together(cls, pieces: Iterable[Output | Delta]) -> Output:
        """Several pieces as one."""
        parts = list(pieces)
        return cls(
            "".join(piece.text for piece in parts),
            "".join(piece.reasoning for piece in parts),
            tuple(call for piece in parts for call in piece.tool_calls),
        )


class TextDecoder(Protocol):
    """Turns token ids into text that is safe to show: whole characters, no part of a stop text."""

    @property
    def stopped(self) -> bool:
        """Whether a stop text has been seen; the text after it is dropped."""

    @property
    def stop_text(self) -> str | None:
        """The stop text that has been seen."""

    def add(self, token: int) -> Output:
        """The output that is safe to show with this token; may be empty."""

    def finish(self) -> Output:
        """The output that is still held back."""


class Constraint(Protocol):
    """Holds an answer to a schema; the backend implements it."""

    broken: bool
    """Whether the answer could not be held to it."""
    why: str
    """Why, as a phrase that fits after a colon."""


class Sequence:
    """State of one chat from submission to its terminal event.

    ``emitted`` are the token ids that an earlier worker logged for the same job: they are prefilled
    after the prompt and generation goes on behind them. ``queue_ms`` is the time the job waited
    before this process took it up; ``images`` are the bytes of the images in its messages, by
    SHA-256.
    """

    def __init__(
        self,
        job: ChatJob,
        *,
        attempt: int = 1,
        emitted: tuple[int, ...] = (),
        queue_ms: float = 0.0,
        images: Mapping[str, bytes] | None = None,
    ) -> None:
        self.job = job
        self.images = images or {}
        self.attempt = attempt
        self.emitted = emitted
        self.prompt_ids: list[int] = []
        self.generated: list[int] = []
        self.cached_tokens = 0
        self.checkpoints: tuple[int, ...] = ()
        """Positions in the prompt that other prompts are likely to share."""
        self.end: Finished | Failed | None = None
        self.constraint: Constraint | None = None
        self.rescued_at: int | None = None
        self.suspect = False
        """Whether this chat may crash its workers: one suspect is inside the engine at a time."""
        self._decoder: TextDecoder | None = None
        self._held: list[int] = []
        self._queue_ms = queue_ms
        self._load_ms = 0.0
        self._taken_up = time.monotonic()
        self._prefill_began: float | None = None
        self._first_token: float | None = None

    @property
    def job_id(self) -> str:
        return self.job.job_id

    @property
    def tokens(self) -> list[int]:
        """Everything to prefill: the prompt and what has been generated so far."""
        return [*self.prompt_ids, *self.emitted, *self.generated]

    @property
    def position(self) -> int:
        """How many tokens of the answer exist: the sampler's counter, together with the seed."""
        return len(self.emitted) + len(self.generated)

    @property
    def tokens_left(self) -> int:
        return self.job.sampling.max_tokens - self.position

    @property
    def usage(self) -> Usage:
        return Usage(len(self.prompt_ids), self.position, self.cached_tokens)

    @property
    def elapsed_ms(self) -> float:
        return (time.monotonic() - self._taken_up) * 1000

    @property
    def timings(self) -> Timings:
        first, now = self._first_token, time.monotonic()
        began = self._prefill_began
        decoding = now - first if first is not None else 0.0
        return Timings(
            queue_ms=round(self._queue_ms, 3),
            load_ms=round(self._load_ms, 3),
            prefill_ms=round((first - began) * 1000, 3)
            if first is not None and began is not None
            else 0.0,
            ttft_ms=round(self._queue_ms + (first - self._taken_up) * 1000, 3)
            if first is not None
            else 0.0,
            tokens_per_second=round((len(self.generated) - 1) / decoding, 2)
            if decoding > 0
            else 0.0,
        )

    def loaded(self, since: float) -> None:
        """Note that its model has been loading since ``since`` (monotonic seconds)."""
        self._load_ms = (time.monotonic() - since) * 1000

    def begin(self, prompt_ids: list[int], decoder: TextDecoder) -> None:
        """Take the prompt's tokens and the decoder, and replay earlier output through it."""
        self.prompt_ids = prompt_ids
        self._decoder = decoder
        for token in self.emitted:
            decoder.add(token)
        self._prefill_began = time.monotonic()

    def accept(self, token: int) -> list[LoggedEvent]:
        """Count one more token; returns what a reader should see of it, maybe nothing yet."""
        assert self._decoder is not None, "a sequence gets tokens only after begin()"
        if self._first_token is None:
            self._first_token = time.monotonic()
        self.generated.append(token)
        self._held.append(token)
        return self._delta(self._decoder.add(token))

    @property
    def stopped_by_text(self) -> bool:
        return self._decoder is not None and self._decoder.stopped

    @property
    def stop_text(self) -> str | None:
        """The stop text that ended the answer, if one did."""
        return None if self._decoder is None else self._decoder.stop_text

    def accept_last(self, token: int) -> None:
        """Count a token that ends the answer and is no text, such as end-of-sequence."""
        if self._first_token is None:
            self._first_token = time.monotonic()
        self.generated.append(token)

    def finish(self, reason: FinishReason) -> list[LoggedEvent]:
        """End well: the text still held back, then the terminal event.

        Only the first end counts.
        """
        if self.end is not None:
            return []
        remaining = (
            self._decoder.finish()
            if self._decoder is not None and not self.stopped_by_text
            else Output()
        )
        events = self._delta(remaining)
        self.end = Finished(reason, self.usage, self.timings, stop_reason=self.stop_text)
        return [*events, self.end]

    def fail(self, make: Callable[[Usage, Timings], Failed]) -> list[LoggedEvent]:
        """End badly; ``make`` builds the event from the counts so far.

        Only the first end counts.
        """
        if self.end is not None:
            return []
        self.end = make(self.usage, self.timings)
        return [self.end]

    def _delta(self, output: Output) -> list[LoggedEvent]:
        if not any(output):
            return []
        delta = Delta(output.text, tuple(self._held), output.reasoning, output.tool_calls)
        self._held.clear()
        return [delta]
