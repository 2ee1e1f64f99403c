"""What the pooling backend needs of a model: texts to tokens, and tokens to rows of numbers."""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from wire.messages import ChatJob

Rows = NDArray[Any]
"""Numbers in 32 bits, [texts, numbers of a text]."""


@dataclass(frozen=True, slots=True)
class Input:
    """The tokens of a text, or of a pair of texts; ``types`` tell the two apart, for models that
    want to know."""

    ids: list[int]
    types: list[int] | None = None


class PoolingModel(Protocol):
    """One model."""

    weight_bytes: int
    normalises: bool
    """Whether its vectors have the length 1."""

    def inputs(self, job: ChatJob) -> list[Input]:
        """The inputs of a job; the query's first, if scores are the cosines of vectors.

        May run on any thread: it must not touch MLX. Raises WorkerError.
        """

    def run(self, inputs: Items[Input]) -> Generator[None, None, Rows]:
        """The rows of some inputs, computed in pieces of some milliseconds."""
