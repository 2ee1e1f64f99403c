"""Which tokens end an answer, and which token ids a request may name. Knows no MLX."""

from __future__ import annotations

from dataclasses import dataclass

from wire.messages import Sampling
from worker.errors import WorkerError

NO_TOKENS: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """A model's: ``ends`` are its end-of-text tokens, ``newline`` those of a line break."""

    ends: frozenset[int] = NO_TOKENS
    newline: frozenset[int] = NO_TOKENS

    @property
    def kept_by_xtc(self) -> frozenset[int]:
        """The tokens that XTC never drops: an answer without them has no end and no lines."""
        return self.ends | self.newline


NO_SPECIAL_TOKENS = SpecialTokens()


def ends_of(sampling: Sampling, special: SpecialTokens, *, constrained: bool) -> frozenset[int]:
    """The tokens that end an answer.

    A ``constrained`` answer ends where its schema does, also with ``ignore_eos``: behind that no
    other token is allowed.
    """
    ends = NO_TOKENS if sampling.ignore_eos and not constrained else special.ends
    return ends.union(sampling.stop_token_ids) if sampling.stop_token_ids else ends


def held_back(sampling: Sampling, special: SpecialTokens) -> list[int]:
    """The tokens that can't come before ``min_tokens`` tokens."""
    return sorted(special.ends.union(sampling.stop_token_ids)) if sampling.min_tokens > 0 else []


def refuse_unknown_ids(sampling: Sampling, vocabulary: int) -> None:
    """Raises WorkerError ``invalid_request`` for token ids that a model with so many logits doesn't
    have."""
    named = {
        "logit_bias": [token for token, _ in sampling.logit_bias],
        "stop_token_ids": list(sampling.stop_token_ids),
    }
    for field, ids in named.items():
        unknown = next((token for token in ids if not 0 <= token < vocabulary), None)
        if unknown is not None:
            raise WorkerError(
                "invalid_request",
                f"{field}: {unknown} is no token id of this model; it has {vocabulary}, "
                "counted from 0.",
                param=field,
            )
