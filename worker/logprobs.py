"""Log-probabilities inside a worker: as a backend measures them, and with the tokens' bytes.

Knows no MLX.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from wire.messages import Alternative, ChatJob, Delta, TokenLogprob
from worker.errors import WorkerError

LEAST_LOGPROB = -9999.0
"""What is less, such as the logarithm of 0, counts as this, since JSON has no infinities. As in
vLLM."""
DECIMALS = 6
"""A float of 32 bits has no more at the size of most log-probabilities."""
MOST_PROMPT_VALUES = 1 << 18
"""Log-probabilities of one prompt, alternatives included: the event that holds them has up to
eight megabytes."""

CONTEXT_TOKENS = 5
"""How many tokens before another decide how it is written, at most. As in vLLM."""


class TokenWriter(Protocol):
    """Knows which bytes tokens stand for."""

    def token_bytes(self, token: int, before: Sequence[int], *, of_prompt: bool = False) -> bytes:
        """The bytes of a token behind others of the same text, of which the last few are
        enough."""


class Measured(NamedTuple):
    """The log-probability of a token, and ids and log-probabilities of the likeliest tokens in its
    place, in descending order."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()

    def with_bytes(
        self, token: int, writer: TokenWriter, before: Sequence[int], *, of_prompt: bool = False
    ) -> TokenLogprob:
        """As events hold it: with bytes in place of ids."""

        def written(one: int) -> bytes:
            return writer.token_bytes(one, before, of_prompt=of_prompt)

        top = tuple(Alternative(written(other), bounded(value)) for other, value in self.top)
        return TokenLogprob(written(token), bounded(self.logprob), top)


def bounded(logprob: float) -> float:
    """A log-probability as it is written down."""
    if math.isnan(logprob) or logprob < LEAST_LOGPROB:
        return LEAST_LOGPROB
    return round(logprob, DECIMALS) + 0.0  # Without the sign of a zero.


def refuse_many(tokens: int, likeliest: int | None) -> None:
    """Raises WorkerError for a prompt with too many log-probabilities."""
    if likeliest is not None and tokens * (likeliest + 1) > MOST_PROMPT_VALUES:
        most = MOST_PROMPT_VALUES // (likeliest + 1)
        raise WorkerError(
            "unsupported",
            f"A prompt that is echoed with logprobs {likeliest} may have {most} tokens; this one "
            f"has {tokens}.",
            param="logprobs",
        )


def with_bytes(
    tokens: Sequence[int],
    measured: Iterable[Measured],
    writer: TokenWriter,
    before: Sequence[int] = (),
    *,
    of_prompt: bool = False,
) -> list[TokenLogprob]:
    """Log-probabilities of consecutive tokens behind others, as events hold them."""
    context = [*before[-CONTEXT_TOKENS:]]
    told = []
    for token, one in zip(tokens, measured, strict=True):
        told.append(one.with_bytes(token, writer, context, of_prompt=of_prompt))
        context = [*context, token][-CONTEXT_TOKENS:]
    return told


def echo_of(
    job: ChatJob,
    prompt_ids: Sequence[int],
    measured: Sequence[Measured],
    writer: TokenWriter,
    written: Sequence[TokenLogprob] = (),
) -> Delta:
    """The echo of a prompt. ``measured`` are all its tokens but the first, if that is asked for;
    ``written`` are the first of these that have their bytes already."""
    told: list[TokenLogprob] = []
    if job.sampling.prompt_logprobs is not None:
        done = len(written) + 1
        told = [TokenLogprob(writer.token_bytes(prompt_ids[0], (), of_prompt=True), None), *written]
        rest, before = prompt_ids[done:], prompt_ids[:done][-CONTEXT_TOKENS:]
        told += with_bytes(rest, measured[done - 1 :], writer, before, of_prompt=True)
    text = "".join(message.text() for message in job.messages)
    if not text:  # It was sent as token ids.
        text = _text_of(prompt_ids, writer)
    return Delta(text, (), prompt=tuple(told))


def _text_of(ids: Sequence[int], writer: TokenWriter) -> str:
    written = (
        writer.token_bytes(token, ids[max(0, at - CONTEXT_TOKENS) : at], of_prompt=True)
        for at, token in enumerate(ids)
    )
    return b"".join(written).decode("utf-8", "replace")
