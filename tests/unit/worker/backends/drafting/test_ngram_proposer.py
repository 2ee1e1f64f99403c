"""What prompt lookup finds."""

from __future__ import annotations

import pytest

from worker.backends.drafting.ngram_proposer import INDEXED_AT_ONCE, NgramProposer


@pytest.mark.parametrize(
    ("tokens", "draft"),
    [
        ([], []),
        ([1, 2], []),
        ([1, 2, 3, 4, 5, 6], []),
        ([1, 2, 3, 4, 5, 6, 1, 2], []),
        ([1, 2, 3, 4, 5, 6, 1, 2, 3], [4, 5, 6, 1]),
        ([1, 2, 3, 8, 7, 1, 2, 3, 4, 5, 6, 9, 1, 2, 3], [4, 5, 6, 9]),
        ([0, 1, 2, 3, 8, 7, 5, 1, 2, 3, 4, 5, 6, 9, 0, 1, 2, 3], [8, 7, 5, 1]),
        ([1, 2, 1, 2, 1, 2], [1, 2, 1, 2]),
        ([7, 7, 7, 7], [7, 7, 7, 7]),
    ],
    ids=["empty", "few", "never", "short", "again", "latest", "longest", "loop", "one"],
)
def test_what_followed_the_longest_match_is_proposed(tokens: list[int], draft: list[int]) -> None:
    assert NgramProposer(tokens).propose(4) == draft


def test_it_follows_an_answer_as_it_grows() -> None:
    tokens = [1, 2, 3, 4, 5]
    proposer = NgramProposer(tokens)
    assert proposer.propose(2) == []
    tokens += [1, 2, 3]
    assert proposer.propose(2) == [4, 5]
    tokens += [4, 9, 3, 4, 9]
    assert proposer.propose(2) == [3, 4]
    assert proposer.propose(0) == []


def test_a_long_prompt_is_indexed_over_several_steps() -> None:
    tokens = [*range(INDEXED_AT_ONCE * 2 + 9), 5, 6, 7]
    proposer = NgramProposer(tokens)
    assert [proposer.propose(2) for _ in range(3)] == [[], [], [8, 9]]
