"""How many tokens of prompts are read at once, by how long they took before."""

from __future__ import annotations

import pytest

from worker.backends.batching.chunk import FEWEST, GROWTH, LONGEST_S, Pace

WANTED = 512


def read(pace: Pace, chunks: int, *, token_s: float, fixed_s: float = 0.0) -> list[int]:
    """Read chunks on a machine of this speed; returns their sizes."""
    sizes = []
    for _ in range(chunks):
        sizes.append(min(WANTED, pace.most))
        pace.took(sizes[-1], fixed_s + sizes[-1] * token_s)
    return sizes


def test_a_fast_machine_reads_whole_chunks_soon() -> None:
    assert read(Pace(), 4, token_s=0.001) == [FEWEST, FEWEST * GROWTH, WANTED, WANTED]


@pytest.mark.parametrize(("token_s", "fixed_s"), [(0.02, 0.0), (0.02, 0.5), (0.004, 1.5)])
def test_a_slow_machine_reads_what_it_can_in_time(token_s: float, fixed_s: float) -> None:
    last = read(Pace(), 20, token_s=token_s, fixed_s=fixed_s)[-1]
    assert FEWEST < last < WANTED
    assert fixed_s + last * token_s == pytest.approx(LONGEST_S, rel=0.2)


def test_chunks_do_not_become_smaller_than_the_smallest() -> None:
    assert read(Pace(), 3, token_s=10.0) == [FEWEST] * 3


def test_the_first_chunk_is_chosen_by_what_short_prompts_took() -> None:
    assert Pace.expected(0.001).most == LONGEST_S / 0.001
    assert Pace.expected(10.0).most == Pace.expected(float("inf")).most == FEWEST


def test_the_rest_of_a_prompt_says_nothing_of_whole_chunks() -> None:
    pace = Pace()
    read(pace, 5, token_s=0.001)
    most = pace.most
    pace.took(1, LONGEST_S / 2)
    assert pace.most == most


def test_one_chunk_that_took_too_long_is_forgotten_when_others_are_quick() -> None:
    pace = Pace()
    read(pace, 5, token_s=0.001)
    pace.took(WANTED, 20 * LONGEST_S)
    assert pace.most == FEWEST
    assert read(pace, 3, token_s=0.001)[-1] == WANTED
