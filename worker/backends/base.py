"""What the engine needs of a model: prepare a prompt, join the batch, run a step, leave the batch.

The engine knows this protocol and nothing of MLX. Every method but ``prepare`` runs on the engine's
thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Literal, Protocol

from wire.model_registry import ModelRecord
from worker.logprobs import Measured
from worker.sequence import Sequence

EndOfText = Literal["stop", "length"]


@dataclass(slots=True)
class Token:
    """One generated token. With ``end`` it is the sequence's last, which has left the batch.

    A token that ends with ``stop`` is the model's end token and not text. ``measured`` is there for
    sequences that ask for log-probabilities.
    """

    sequence: Sequence
    token_id: int
    end: EndOfText | None = None
    measured: Measured | None = None


@dataclass(slots=True)
class Step:
    """The result of one step: tokens, and the progress of prefill (sequence, tokens read, tokens in
    all). A sequence may have several tokens, in their order.

    ``prompts``: prompts that have been read whose log-probabilities are asked for, with those of
    all their tokens but the first. If no answer is asked for, the sequence has left the batch.
    ``draft_tokens`` were guessed and fed, ``accepted_tokens`` of them were right; the sequences
    count them, too. ``rest_s`` is for how long the next step would have nothing to do, because its
    inputs are still being computed.
    """

    tokens: list[Token] = field(default_factory=list)
    prefill: list[tuple[Sequence, int, int]] = field(default_factory=list)
    prompts: list[tuple[Sequence, list[Measured]]] = field(default_factory=list)
    draft_tokens: int = 0
    accepted_tokens: int = 0
    rest_s: float = 0.0


class Adapters(Protocol):
    """The adapters of a loaded model, by their ids. A sequence whose job names one as its model
    runs with it, in one batch with the others."""

    @property
    def nbytes(self) -> Mapping[str, int]:
        """Bytes in memory of each that is attached."""

    def read(self, record: ModelRecord) -> None:
        """Read an adapter's files, on any thread. Raises WorkerError for one that doesn't fit the
        model."""

    def attach(self, record: ModelRecord) -> Iterator[None]:
        """Put an adapter that has been read into the model, on the engine's thread, in pieces
        between which the model makes its steps. Raises WorkerError for one that can't be used."""

    def detach(self, adapter_id: str) -> None:
        """Take an adapter out that no sequence uses. An unknown one is no error."""


class Backend(Protocol):
    """One loaded model."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the model's weights in memory, and of its adapters."""

    @property
    def adapters(self) -> Adapters | None:
        """None for a model that takes none."""

    def start(self) -> Iterator[None]:
        """End the load with what must be computed on the engine's thread: models are opened on
        another. In pieces, between which other models make their steps. Raises WorkerError for a
        model that can't be used."""

    def prepare(self, sequence: Sequence) -> list[str]:
        """Turn the job's messages into token ids and begin the sequence; returns warnings for the
        client.

        May run on any thread: it must not touch MLX. Raises WorkerError for a prompt that can't be
        used.
        """

    def cache_key(self, sequence: Sequence) -> Items[int]:
        """What the prompt of a prepared sequence is cached under: its token ids, with hashes of
        images in place of those of images."""

    def add(self, sequence: Sequence) -> None:
        """Join the batch. Raises WorkerError if the sequence can't be run."""

    def step(self, others_waiting: bool = False) -> Step:
        """One decode step of every running sequence, and at most one chunk of prefill.

        ``others_waiting``: chats outside this batch are running or likely to come, and wait for the
        end of this step.
        """

    def remove(self, sequence: Sequence) -> None:
        """Leave the batch now; what was computed stays in the prompt cache. Unknown sequences are
        no error."""

    def sequences(self) -> list[Sequence]:
        """The sequences in the batch, those still in prefill included."""

    def prefilling(self) -> list[Sequence]:
        """Those of them that have no token yet: the suspects when a step raises."""

    def reset(self) -> None:
        """Forget the batch after an exception left it in an unknown state. Sequences are added
        again by the engine."""

    def batch_lane(self) -> Backend:
        """A second, empty batch of the same model for batch jobs: it steps by itself and doesn't
        cache finished rows."""

    def close(self) -> None:
        """Free the model."""


def pools(backend: Backend) -> bool:
    """Whether a backend that runs something makes vectors or scores of it."""
    return backend.sequences()[0].pools
