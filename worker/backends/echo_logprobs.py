"""Log-probabilities that the echo backend invents: a known function of the token, so that tests
know what must arrive.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.logprobs import Measured
from worker.sequence import Sequence as Chat


def invented(token: int, likeliest: int) -> Measured:
    """The token is always the likeliest, and the next ids follow it, each a nat less likely."""
    own = -0.5 - token % 8 / 8
    return Measured(own, tuple((token + rank, own - rank) for rank in range(likeliest)))


def of_token(chat: Chat, token: int) -> Measured | None:
    """Of an answer's token, for a chat that asks."""
    likeliest = chat.job.sampling.logprobs
    return None if likeliest is None else invented(token, likeliest)


def of_prompt(prompt_ids: Sequence[int], likeliest: int) -> list[Measured]:
    """Of a prompt's tokens but the first."""
    return [invented(token, likeliest) for token in prompt_ids[1:]]
