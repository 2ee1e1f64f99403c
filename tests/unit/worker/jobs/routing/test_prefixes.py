"""The hashes of the prompts that a worker holds."""

from __future__ import annotations

from wire.routing.told import BLOCK
from worker.jobs.routing.prefixes import Model, Prefixes, block_hashes, held
from worker.prompt_cache import encoded

MODEL = Model("a", "1")


def row(*blocks: int, rest: int = 0) -> bytes:
    """Blocks of one token each, and some tokens more."""
    tokens = [token for block in blocks for token in [block] * BLOCK]
    return encoded([*tokens, *[0] * rest])


def test_a_hash_stands_for_its_block_and_all_before_it() -> None:
    one, other = block_hashes(MODEL, row(1, 2, 3, rest=5)), block_hashes(MODEL, row(1, 2, 4))
    assert len(one) == len(set(one)) == 3
    assert (one[:2], one[2] == other[2]) == (other[:2], False)
    assert set(block_hashes(MODEL, row(2, 3))).isdisjoint(one)
    assert set(block_hashes(Model("a", "2"), row(1, 2, 3))).isdisjoint(one)
    assert block_hashes(MODEL, row(rest=BLOCK - 1)) == []


def test_what_is_held_ends_where_a_block_is_missing() -> None:
    hashes = block_hashes(MODEL, row(1, 2, 3))
    assert held(hashes, [1, 1, 0]) == 2 * BLOCK
    assert held(hashes, [0, 1, 1]) == 0
    assert held([], []) == 0


def test_changes_are_told_once_and_shared_blocks_stay_with_the_last_row() -> None:
    prefixes = Prefixes()
    one, other = row(1, 2), row(1, 3)
    prefixes.add(MODEL, one)
    prefixes.add(MODEL, other)
    prefixes.update()
    first, second = block_hashes(MODEL, one)
    third = block_hashes(MODEL, other)[1]
    assert sorted(prefixes.changes().come) == sorted([first, second, third])
    assert prefixes.changes() == ([], [])
    prefixes.drop(MODEL, one)
    assert prefixes.changes() == ([], [second])
    prefixes.drop(MODEL, other)
    prefixes.add(MODEL, other)  # A turn later it is another entry with the same beginning.
    prefixes.update()
    assert prefixes.changes() == ([], [])
    assert first in prefixes
    assert second not in prefixes


def test_what_came_and_went_between_two_looks_is_not_told() -> None:
    prefixes = Prefixes()
    prefixes.add(MODEL, row(1))
    prefixes.update()
    prefixes.drop(MODEL, row(1))
    prefixes.add(MODEL, row(2))
    prefixes.drop(MODEL, row(2))
    prefixes.update()
    assert prefixes.changes() == ([], [])


def test_the_rows_that_came_first_are_told_no_more_beyond_the_bound() -> None:
    prefixes = Prefixes(most=4)
    for number in range(10):
        prefixes.add(MODEL, row(number, 100 + number))
    prefixes.add(MODEL, row(*range(200, 210)))
    prefixes.update()
    assert sorted(prefixes.all()) == sorted(block_hashes(MODEL, row(*range(200, 204))))
    prefixes.drop(MODEL, row(9, 109))  # It has long gone from here.
    prefixes.drop(MODEL, row(*range(200, 210)))
    assert prefixes.all() == []
