"""Prompt lookup: what may come next, from what has come before in the sequence's own tokens.

Where the last tokens stand further up as well, in the prompt or in the answer, what followed there
often follows again: quotes, code that is edited, JSON. Saxena, Prompt lookup decoding, 2023; vLLM
calls it ngram. No model is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

SHORTEST_MATCH = 3
"""Tokens that must be the same before a draft."""
LONGEST_MATCH = 32
"""Of two places, the one with the longer match is better, up to so many tokens."""
PLACES = 8
"""Latest places that are compared."""
INDEXED_AT_ONCE = 4096
"""Tokens of a long prompt that are indexed in one step: a millisecond or two."""


class NgramProposer:
    """One sequence's. ``tokens`` is the list that grows with the answer; it is only read."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tokens
        self._latest: dict[tuple[int, ...], int] = {}
        """For each n-gram of the shortest match, the position behind its latest place."""
        self._earlier: list[int] = [0] * SHORTEST_MATCH
        """For each position, the one behind the place before of the n-gram that ends there; 0 if
        there is none."""

    def propose(self, most: int) -> list[int]:
        """Up to ``most`` tokens that may come next; none without a match."""
        if not self._index() or len(self._tokens) < SHORTEST_MATCH:
            return []
        start = self._best_place()
        if not start:
            return []
        draft = list(self._tokens[start : start + most])
        # A match that reaches to the end is a loop: it goes on with what it has itself written.
        while len(draft) < most:
            draft += draft[: most - len(draft)]
        return draft

    def _index(self) -> bool:
        """Take in the tokens that are new, but the last n-gram; whether all are in."""
        tokens, earlier, latest = self._tokens, self._earlier, self._latest
        begin = len(earlier)
        end = min(len(tokens), begin + INDEXED_AT_ONCE)
        for position in range(begin, end):
            ngram = tuple(tokens[position - SHORTEST_MATCH : position])
            earlier.append(latest.get(ngram, 0))
            latest[ngram] = position
        return end >= len(tokens)

    def _best_place(self) -> int:
        """The position behind the place with the longest match, the latest of equals; 0 if there
        is none."""
        place = self._latest.get(tuple(self._tokens[-SHORTEST_MATCH:]), 0)
        best, longest = 0, 0
        for _ in range(PLACES):
            if not place:
                break
            length = self._match(place)
            if length > longest:
                best, longest = place, length
            place = self._earlier[place]
        return best

    def _match(self, place: int) -> int:
        """How many tokens before a position are the same as the last ones."""
        tokens, end, length = self._tokens, len(self._tokens), SHORTEST_MATCH
        most = min(LONGEST_MATCH, place)
        while length < most and tokens[place - 1 - length] == tokens[end - 1 - length]:
            length += 1
        return length
