"""The decoder of an answer of vectors or scores: a token is a text, and its row is written."""

from __future__ import annotations

from collections.abc import Sequence as Items

from wire.messages import row_text
from worker.sequence import Sequence
from worker.text_decoder import Output


class RowDecoder:
    """Writes the rows that the backend has put into the sequence, in order."""

    reasoning_tokens = 0
    has_open_call = False
    stop_text: str | None = None

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        self._texts = len(sequence.job.messages)
        self._written = 0

    @property
    def stopped(self) -> bool:
        """Whether every text has its row."""
        return self._written >= self._texts

    def add(self, token: int) -> Output:  # noqa: ARG002 (the text's number of tokens)
        place = self._written - len(self._sequence.emitted)
        self._written += 1
        # Rows of an earlier worker are in the log already.
        return Output(row_text(self._sequence.rows[place])) if place >= 0 else Output()

    def finish(self) -> Output:
        return Output()

    def token_bytes(self, token: int, before: Items[int], *, of_prompt: bool = False) -> bytes:  # noqa: ARG002
        return b""
