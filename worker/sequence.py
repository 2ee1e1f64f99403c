"""One chat inside the engine: its tokens, its text, its times, and how it ended.

Knows no queue, no Redis and no MLX: a backend provides the decoder, the engine adds tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items
from typing import Protocol

from wire.messages import (
    ChatJob,
    Delta,
    Failed,
    Finished,
    FinishReason,
    LoggedEvent,
    Timings,
    TokenLogprob,
    Usage,
)
from worker.logprobs import CONTEXT_TOKENS, Measured, echo_of, refuse_many, with_bytes
from worker.text_decoder import Output, TextDecoder

Enter = Callable[[], None]
Route = Callable[[Items[int], Enter], None]
_UNREADABLE_CALL = "The model wrote a tool call that can't be read to its end. Send it again."


class Constraint(Protocol):
    """Holds an answer to a schema; the backend implements it."""

    broken: bool
    """Whether the answer could not be held to it."""
    why: str
    """Why, as a phrase that fits after a colon."""


class ThinkingBudget(Protocol):
    """Limits how much an answer's model thinks; the backend implements it."""

    def start(self, answer: Items[int]) -> None:
        """Start after this part of the answer; does nothing if it is there already."""

    def accept(self, token: int) -> None:
        """The answer's next token."""

    @property
    def forced(self) -> int | None:
        """The only token that may come next; None if any may."""


class Sequence:
    """State of one chat from submission to its terminal event.

    ``emitted`` are the token ids that an earlier worker logged for the same job: they are prefilled
    after the prompt and generation goes on behind them. ``queue_ms`` is the time the job waited
    before this process took it up; ``images`` are the bytes of the images in its messages, by
    SHA-256. ``echoed``: whether an earlier worker has logged the echo of the prompt. ``rows`` are
    those of an answer of vectors or scores that this process has computed. ``draft_tokens`` were
    guessed and fed in advance; ``accepted_tokens`` were right. MLX held ``peak_memory_bytes``.
    """

    route: Route | None = None
    """Gets a prepared prompt's key in the prompt cache; lets the chat in if it is to run here."""

    def __init__(
        self,
        job: ChatJob,
        *,
        attempt: int = 1,
        emitted: tuple[int, ...] = (),
        queue_ms: float = 0.0,
        images: Mapping[str, bytes] | None = None,
        echoed: bool = False,
    ) -> None:
        self.job, self.job_id = job, job.job_id
        self.images = images or {}
        self.attempt, self.emitted = attempt, emitted
        self.prompt_ids: list[int] = []
        self.generated: list[int] = []
        self.cached_tokens = self.draft_tokens = self.accepted_tokens = self.peak_memory_bytes = 0
        self.rows: list[bytes] = []
        self.checkpoints: tuple[int, ...] = ()
        """Positions in the prompt that other prompts are likely to share."""
        self.end: Finished | Failed | None = None
        self.constraint: Constraint | None = None
        self.thinking_budget: ThinkingBudget | None = None
        self.rescued_at: int | None = None
        self.suspect = False
        """Whether this chat may crash its workers: one suspect is inside the engine at a time."""
        self.last: TokenLogprob | None = None
        """Of the token that ended the answer, if it is asked for."""
        self._echoed = echoed
        self._written: list[TokenLogprob] = []
        """Of the prompt's tokens but the first, as far as they have their bytes."""
        self._told: list[TokenLogprob] = []
        """Log-probabilities of the tokens whose text is held back."""
        self._decoder: TextDecoder | None = None
        self._stop_token: int | None = None
        self._held: list[int] = []
        self._queue_ms = queue_ms
        self._load_ms = 0.0
        self._taken_up = time.monotonic()
        self._prefill_began: float | None = None
        self._first_token: float | None = None

    @property
    def pools(self) -> bool:
        """Whether vectors or scores of texts are asked for: a token is a text then, and its number
        how many tokens that has."""
        return self.job.form.pooling is not None

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
    def wanted_of_prompt(self) -> int | None:
        """With how many of the likeliest tokens the prompt's log-probabilities are still to be
        measured; None: not at all."""
        return None if self._echoed else self.job.sampling.prompt_logprobs

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to compute, as when a crash came between the last token and the
        end."""
        return self.wanted_of_prompt is None and (self.stopped_by_text or self.tokens_left <= 0)

    @property
    def usage(self) -> Usage:
        if self.pools:
            return Usage(sum(self.emitted) + sum(self.generated))
        thought = 0 if self._decoder is None else self._decoder.reasoning_tokens
        return Usage(len(self.prompt_ids), self.position, self.cached_tokens, thought)

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
            draft_tokens=self.draft_tokens,
            accepted_tokens=self.accepted_tokens,
        )

    def loaded(self, since: float) -> None:
        """Note that its model has been loading since ``since`` (monotonic seconds)."""
        self._load_ms = (time.monotonic() - since) * 1000

    def begin(self, prompt_ids: list[int], decoder: TextDecoder) -> None:
        """Take the prompt's tokens and the decoder, and replay earlier output through it.

        Raises WorkerError for a prompt with too many log-probabilities.
        """
        refuse_many(len(prompt_ids), self.wanted_of_prompt)
        self.prompt_ids = prompt_ids
        self._decoder = decoder
        for token in self.emitted:
            decoder.add(token)
        self._prefill_began = time.monotonic()

    def prompt_read(self, start: int, measured: Items[Measured]) -> None:
        """Take what was measured of the prompt's tokens from ``start`` on, 1 at least. Their bytes
        are worked out piece by piece: those of a long prompt take seconds."""
        assert self._decoder is not None, "a sequence has a prompt only after begin()"
        tokens, before = self.prompt_ids[start:], self.prompt_ids[:start][-CONTEXT_TOKENS:]
        del self._written[start - 1 :]  # Of a reading that has begun anew.
        self._written += with_bytes(
            tokens[: len(measured)], measured, self._decoder, before, of_prompt=True
        )

    def echo(self, measured: Items[Measured] = ()) -> list[LoggedEvent]:
        """What a reader should see of the prompt: nothing unless it is asked for and still to be
        echoed. ``measured`` are all its tokens but the first, if that is asked for."""
        if not self.job.form.echo or self._echoed:
            return []
        assert self._decoder is not None, "a sequence has a prompt only after begin()"
        self._echoed = True
        return [echo_of(self.job, self.prompt_ids, measured, self._decoder, self._written)]

    def accept(self, token: int, measured: Measured | None = None) -> list[LoggedEvent]:
        """Count one more token; returns what a reader should see of it, maybe nothing yet."""
        assert self._decoder is not None, "a sequence gets tokens only after begin()"
        if self._first_token is None:
            self._first_token = time.monotonic()
        if measured is not None:
            self._told.append(self._with_bytes(token, measured))
        self.generated.append(token)
        self._held.append(token)
        return self._delta(self._decoder.add(token))

    @property
    def stopped_by_text(self) -> bool:
        return self._decoder is not None and self._decoder.stopped

    @property
    def stop_reason(self) -> str | int | None:
        """What of the request ended the answer, if anything did: a stop text, or one of its
        ``stop_token_ids``."""
        if self._stop_token is not None:
            return self._stop_token
        return None if self._decoder is None else self._decoder.stop_text

    def _with_bytes(self, token: int, measured: Measured) -> TokenLogprob:
        """The log-probability of the next token."""
        assert self._decoder is not None
        before = [*self.emitted[-CONTEXT_TOKENS:], *self.generated[-CONTEXT_TOKENS:]]
        return measured.with_bytes(token, self._decoder, before[-CONTEXT_TOKENS:])

    def accept_last(self, token: int, measured: Measured | None = None) -> None:
        """Count a token that ends the answer and is no text, such as end-of-sequence."""
        if token in self.job.sampling.stop_token_ids:
            self._stop_token = token
        if self._first_token is None:
            self._first_token = time.monotonic()
        if measured is not None:
            self.last = self._with_bytes(token, measured)
        self.generated.append(token)

    def finish(self, reason: FinishReason) -> list[LoggedEvent]:
        """End well: the text still held back, then the terminal event. An answer that has reached
        its limit has stopped if that text has a stop text. One that has stopped within a call that
        was begun to be told, or with one that can't be read, has failed.

        Only the first end counts.
        """
        if self.end is not None:
            return []
        remaining = (
            self._decoder.finish()
            if self._decoder is not None and not self.stopped_by_text
            else Output()
        )
        # Tokens without text, such as the beginning of a character, have log-probabilities still.
        events = self._delta(remaining, always=bool(self._told) and not self.stopped_by_text)
        if reason == "length" and self.stopped_by_text:
            reason = "stop"
        if reason == "stop" and self._decoder is not None and self._decoder.has_open_call:
            self.end = Failed("tool_call_unreadable", _UNREADABLE_CALL, self.usage, self.timings)
        else:
            self.end = Finished(
                reason, self.usage, self.timings, stop_reason=self.stop_reason, last=self.last
            )
        return [*events, self.end]

    def fail(self, make: Callable[[Usage, Timings], Failed]) -> list[LoggedEvent]:
        """End badly; ``make`` builds the event from the counts so far.

        Only the first end counts.
        """
        if self.end is not None:
            return []
        self.end = make(self.usage, self.timings)
        return [self.end]

    def _delta(self, output: Output, *, always: bool = False) -> list[LoggedEvent]:
        if not any(output) and not always:
            return []
        delta = Delta(
            output.text,
            tuple(self._held),
            output.reasoning,
            output.tool_calls,
            logprobs=tuple(self._told),
        )
        self._held.clear()
        self._told.clear()
        return [delta]
