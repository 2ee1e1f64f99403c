"""What the engine needs of a model: prepare a prompt, join the batch, make a step, leave the batch.

The engine knows this protocol and nothing of MLX. Every method but ``prepare`` runs on the engine's
thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from worker.sequence import Sequence

EndOfText = Literal["stop", "length"]


@dataclass(slots=True)
class Token:
    """One generated token. ``end`` says that the backend has let the sequence go with it, and why.

    A token that ends with ``stop`` is the model's own end mark and no text.
    """

    sequence: Sequence
    token_id: int
    end: EndOfText | None = None


@dataclass(slots=True)
class Step:
    """What one step brought: tokens, and how far prompts have been read (sequence, tokens read,
    tokens in all).

    ``rest_s`` is for how long the next step would find nothing to do: what it waits for is being
    computed.
    """

    tokens: list[Token] = field(default_factory=list)
    prefill: list[tuple[Sequence, int, int]] = field(default_factory=list)
    rest_s: float = 0.0


class Backend(Protocol):
    """One loaded model."""

    weight_bytes: int
    """Bytes of the model's weights in memory."""

    def prepare(self, sequence: Sequence) -> list[str]:
        """Turn the job's messages into token ids and begin the sequence; the answer is warnings for
        the reader.

        May run on any thread: it must not touch MLX. Raises WorkerError for a prompt that can't be
        used.
        """

    def add(self, sequence: Sequence) -> None:
        """Join the batch. Raises WorkerError if the sequence can't be run."""

    def step(self, in_company: bool = False) -> Step:
        """One decode step of every running sequence, and at most one chunk of prefill.

        ``in_company`` says that chats outside this batch run or are likely to come: they wait for
        this step's end.
        """

    def remove(self, sequence: Sequence) -> None:
        """Leave the batch now, keeping the cache of what was computed. Unknown sequences are no
        error."""

    def sequences(self) -> list[Sequence]:
        """The sequences in the batch, those still in prefill included."""

    def prefilling(self) -> list[Sequence]:
        """Those of them that have no token yet: suspects when a step raises."""

    def reset(self) -> None:
        """Forget the batch after an exception left it in an unknown state. Sequences are added
        again by the engine."""

    def beside(self) -> Backend:
        """A second batch of the same model, empty, which steps by itself and leaves finished
        rows uncached."""

    def close(self) -> None:
        """Free the model."""
