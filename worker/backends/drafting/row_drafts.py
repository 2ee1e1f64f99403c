"""One row's guesses: where they come from, and how often they were right."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from worker.backends.drafting.draft_length import AcceptanceRate
from worker.backends.drafting.ngram_proposer import NgramProposer


class RowDrafts:
    """``tokens`` is the row's list, which grows; ``ends`` are the tokens that end its answer."""

    def __init__(self, tokens: Sequence[int], ends: Collection[int]) -> None:
        self._tokens = tokens
        self._ends = ends
        self._proposer = NgramProposer(tokens)
        self._guess: tuple[int, int] | None = None
        """The last guess that was only compared, not fed: its position and token."""
        self.rate = AcceptanceRate()
        """Of guesses out of the row's own tokens."""
        self.model_rate = AcceptanceRate()
        """Of a draft model's."""

    def propose(self, most: int) -> list[int]:
        """Up to ``most`` tokens that may come next. The first of them counts for the rate as soon
        as its position is known, also if it isn't fed: so a row learns for nothing whether it
        pays."""
        self._compare()
        draft = self.up_to_end(self._proposer.propose(most))
        self._guess = (len(self._tokens), draft[0]) if draft else None
        return draft

    def up_to_end(self, draft: list[int]) -> list[int]:
        """A draft without its first token that ends answers, and what is behind it."""
        ending = (n for n, token in enumerate(draft) if token in self._ends)
        return draft[: next(ending, len(draft))]

    def note(self, drafted: int, accepted: int, *, by_model: bool) -> None:
        """Take in what came of a draft that was fed; ``by_model``: a draft model made it."""
        if by_model:
            self.model_rate.note(accepted, 1 if accepted < drafted else 0)
            return
        self._guess = None
        self.rate.note(accepted, 1 if accepted < drafted else 0)

    def _compare(self) -> None:
        if self._guess is not None and self._guess[0] < len(self._tokens):
            position, token = self._guess
            right = self._tokens[position] == token
            self.rate.note(int(right), int(not right))
            self._guess = None
