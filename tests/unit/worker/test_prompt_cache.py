"""The prompt cache's index: longest prefix, budget, least recently used out. Caches are
stand-ins."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from worker.prompt_cache import Cache, Checkpoint, PromptCache


class Layer:
    """A stand-in for a layer's cache: knows its length, and whether it can be cut."""

    def __init__(self, tokens: int, cuttable: bool = True) -> None:
        self.tokens = tokens
        self.cuttable = cuttable


class Operations:
    """What the index needs to know of stand-ins."""

    def is_cuttable(self, cache: Cache) -> bool:
        return all(layer.cuttable for layer in cache)

    def cut(self, cache: Cache, dropped: int, checkpoint: Checkpoint | None) -> Cache:
        kept = checkpoint or [None] * len(cache)
        copies = []
        for layer, other in zip(cache, kept, strict=True):
            if other is not None:
                copies.append(Layer(other.tokens, cuttable=False))
                continue
            assert layer.cuttable or not dropped
            copies.append(Layer(layer.tokens - dropped, layer.cuttable))
        return copies

    def checkpoint(self, cache: Cache) -> Checkpoint:
        return [None if layer.cuttable else Layer(layer.tokens, False) for layer in cache]

    def nbytes(self, cache: Cache | Checkpoint) -> int:
        # A layer that can't be cut is a state: as large however long the prompt.
        return sum(100 * (kept.tokens if kept.cuttable else 1) for kept in cache if kept)


def hybrid(tokens: int) -> Cache:
    """A cache of a layer that can be cut and one that can't."""
    return [Layer(tokens), Layer(tokens, cuttable=False)]


def states(*lengths: int) -> dict[int, Checkpoint]:
    """Checkpoints of a hybrid cache."""
    return {n: [None, Layer(n, cuttable=False)] for n in lengths}


CUT = Operations()


def length(cache: Any) -> int:
    return int(cache[0].tokens)


def test_the_longest_common_prefix_of_any_entry_is_found() -> None:
    cache = PromptCache(1 << 20, CUT, least_common=1)
    cache.insert("m", [1, 2, 3, 4], [Layer(4)])
    cache.insert("m", [1, 2, 9], [Layer(3)])
    found, known, _ = cache.fetch("m", [1, 2, 3, 7, 8])
    assert (length(found), known) == (3, 3)
    assert cache.cached_tokens == 3


def test_what_all_chats_begin_with_is_read_again_and_a_chat_that_goes_on_is_not() -> None:
    cache = PromptCache(1 << 20, CUT, least_common=4)
    cache.insert("m", [1, 2, 3, 4, 5, 6], [Layer(6)])
    cache.insert("m", [1, 2], [Layer(2)])
    assert cache.fetch("m", [1, 2, 3, 9, 9, 9])[1] == 2
    assert cache.fetch("m", [1, 8, 8, 8, 8, 8]) == (None, 0, {})
    assert cache.fetch("m", [1, 2, 3, 4, 9, 9])[1] == 4
    assert cache.fetch("m", [1, 2, 3])[1] == 2


def test_an_exact_match_leaves_one_token_to_feed() -> None:
    cache = PromptCache(1 << 20, CUT)
    cache.insert("m", [1, 2, 3], [Layer(3)])
    found, known, _ = cache.fetch("m", [1, 2, 3])
    assert (length(found), known) == (2, 2)


def test_models_do_not_share_entries() -> None:
    cache = PromptCache(1 << 20, CUT)
    cache.insert("m", [1, 2, 3], [Layer(3)])
    assert cache.fetch("n", [1, 2, 3]) == (None, 0, {})
    cache.forget("m")
    assert cache.fetch("m", [1, 2, 3]) == (None, 0, {})
    assert cache.nbytes == 0


def test_the_next_turn_replaces_the_turn_before() -> None:
    cache = PromptCache(1 << 20, CUT)
    cache.insert("m", [1, 2], [Layer(2)])
    cache.insert("m", [1, 2, 3, 4], [Layer(4)])
    cache.insert("m", [1, 2, 3, 4], [Layer(4)])
    assert (len(cache), cache.nbytes) == (1, 400)


def test_the_budget_holds_and_the_least_recently_used_goes() -> None:
    cache = PromptCache(1000, CUT)
    cache.insert("m", [1] * 4, [Layer(4)])
    cache.insert("m", [2] * 4, [Layer(4)])
    cache.fetch("m", [1] * 5)
    cache.insert("m", [3] * 4, [Layer(4)])
    assert cache.nbytes <= 1000
    assert cache.fetch("m", [1] * 5)[1] == 4
    assert cache.fetch("m", [2] * 5)[1] == 0
    cache.insert("m", [4] * 99, [Layer(99)])
    assert cache.fetch("m", [4] * 99)[1] == 0


def test_a_cache_that_cannot_be_cut_serves_whole_prefixes_and_those_with_a_checkpoint() -> None:
    cache = PromptCache(1 << 20, CUT)
    cache.insert("m", list(range(40)), hybrid(40), states(20, 30))
    found, known, inside = cache.fetch("m", [*range(35), 99, 99])
    assert known == 30
    assert [layer.tokens for layer in found or []] == [30, 30]
    assert sorted(inside) == [20, 30]
    found, known, inside = cache.fetch("m", [*range(40), 99])
    assert ([layer.tokens for layer in found or []], known) == ([40, 40], 40)
    assert cache.fetch("m", [*range(19), 99]) == (None, 0, {})


def test_the_next_turn_of_a_cache_that_cannot_be_cut_takes_over_the_checkpoints() -> None:
    cache = PromptCache(1 << 20, CUT)
    cache.insert("m", list(range(20)), hybrid(20), states(18))
    cache.insert("m", list(range(40)), hybrid(40), states(30))
    assert len(cache) == 1
    assert sorted(cache.fetch("m", list(range(50))).checkpoints) == [18, 20, 30]
    assert cache.fetch("m", [*range(25), 99]).length == 20
    assert cache.nbytes == 100 * 40 + 100 + 3 * 100


def test_checkpoints_that_lie_close_together_go_before_another_conversation() -> None:
    cache = PromptCache(3_600, CUT)
    cache.insert("m", [7] * 12, hybrid(12), states(6, 11))
    cache.insert("m", list(range(17)), hybrid(17), states(2, 8, 9, 14))
    # 1,500 and 2,200 bytes: one checkpoint too many.
    assert len(cache) == 2
    assert cache.nbytes == 3_600
    assert sorted(cache.fetch("m", list(range(99))).checkpoints) == [2, 8, 14]
    assert sorted(cache.fetch("m", [7] * 99).checkpoints) == [6, 11]


def test_a_cache_that_can_be_cut_after_all_needs_no_checkpoints() -> None:
    cache = PromptCache(1 << 20, CUT)
    cache.insert("m", list(range(20)), [Layer(20)], {10: [None]})
    assert cache.nbytes == 2_000
    assert cache.fetch("m", [*range(17), 99])[1] == 17


def test_entries_that_begin_with_the_same_marks_alone_are_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All chats of a model begin with the marks of its template, and there are hundreds."""
    cache = PromptCache(1 << 20, CUT, least_common=16)
    marks = [1, 2, 3]
    for n in range(50):
        cache.insert("m", [*marks, *range(100 + n, 130 + n)], [Layer(33)])
    compared: list[int] = []
    real = np.flatnonzero

    def counted(array: Any) -> Any:
        compared.append(1)
        return real(array)

    monkeypatch.setattr(np, "flatnonzero", counted)
    assert cache.fetch("m", [*marks, *range(9_000, 9_030)]).length == 0
    assert compared == []
    assert cache.fetch("m", [*marks, *range(107, 130), 7]).length == 26
    assert compared == [1]


@pytest.mark.parametrize("least_common", [1, 2, 4])
def test_the_index_agrees_with_a_plain_search(least_common: int) -> None:
    rng = random.Random(4)
    for _ in range(200):
        cache = PromptCache(1 << 20, CUT, least_common=least_common)
        kept: list[list[int]] = []
        for _ in range(rng.randrange(12)):
            tokens = [rng.randrange(2) for _ in range(rng.randrange(1, 9))]
            cache.insert("m", tokens, [Layer(len(tokens))])
            kept = [k for k in kept if tokens[: len(k)] != k] + [tokens]
        wanted = [rng.randrange(2) for _ in range(rng.randrange(1, 9))]
        common = [
            next(
                (i for i, (a, b) in enumerate(zip(k, wanted, strict=False)) if a != b),
                min(len(k), len(wanted)),
            )
            for k in kept
        ]
        # What is no prefix as a whole must have so much in common.
        most = len(wanted) - 1
        reached = [min(c, most) for c in common]
        enough = [min(least_common, len(k), most) for k in kept]
        best = max((r for r, e in zip(reached, enough, strict=True) if r >= e), default=0)
        found, known, _ = cache.fetch("m", wanted)
        assert known == best
        assert best == 0 or length(found) == best
