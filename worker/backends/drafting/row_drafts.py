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

    def propose(self, most: int) -> list[int]:
        """Up to ``most`` tokens that may come next. The first of them counts for the rate as soon
        as its position is known, also if it isn't fed: so a row learns for nothing whether it
        pays."""
        self._compare()
        draft = self._proposer.propose(most)
        ending = next((n for n, token in enumerate(draft) if token in self._ends), len(draft))
        del draft[ending:]
        self._guess = (len(self._tokens), draft[0]) if draft else None
        return draft

    def note(self, drafted: int, accepted: int) -> None:
        """Take in what came of a draft that was fed."""
        self._guess = None
        self.rate.note(accepted, 1 if accepted < drafted else 0)

    def _compare(self) -> None:
        if self._guess is not None and self._guess[0] < len(self._tokens):
            position, token = self._guess
            right = self._tokens[position] == token
            self.rate.note(int(right), int(not right))
            self._guess = None
