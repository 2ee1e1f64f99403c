"""What a batch needs of a draft model: a small one whose guesses a large one checks.

Leviathan et al., Fast inference from transformers via speculative decoding, 2023. The
implementation is ``worker/backends/draft_model/``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from collections.abc import Sequence as Items
from typing import Protocol

from worker.backends.drafting.draft_length import DraftLength
from worker.backends.drafting.row_drafts import RowDrafts
from worker.backends.sampling.sampler import RowSampler


class DraftingRow(Protocol):
    """A row of the batch. ``left`` is how many tokens its answer may still have."""

    drafts: RowDrafts | None
    """Its guesses, once there were any."""
    sampler: RowSampler

    @property
    def tokens(self) -> Items[int]: ...
    @property
    def left(self) -> int: ...
    @property
    def ends(self) -> Collection[int]: ...


class DraftRows(Protocol):
    """A draft model's caches for the rows of one decode batch."""

    length: DraftLength
    """How many tokens of it are worth a step."""

    def read(self, rows: Items[DraftingRow]) -> bool:
        """Read a piece of what the draft model doesn't know yet of these rows, such as a prompt;
        whether there was anything."""

    def known(self, rows: Items[DraftingRow]) -> list[DraftingRow]:
        """Those of the rows of which enough has been read to guess in them."""

    def propose(self, rows: Items[DraftingRow], length: int) -> list[list[int]]:
        """Drafts of so many tokens; empty ones for rows that aren't known."""

    def remove(self, leaving: Items[DraftingRow]) -> None:
        """Rows leave the batch."""


class DraftModel(Protocol):
    """A draft model that has been opened beside the model it guesses for."""

    weight_bytes: int

    def start(self, width: int) -> Iterator[None]:
        """As in Backend. ``width`` is how many logits the other model has. Raises WorkerError."""

    def rows(self, *, attended: bool) -> DraftRows:
        """For another decode batch, which starts empty. ``attended``: what is read of its rows is
        kept for others that begin like them."""

    def lane(self) -> DraftModel:
        """The same model for a second batch, with measurements of its own."""

    def close(self) -> None:
        """Drop what was kept of prompts."""
