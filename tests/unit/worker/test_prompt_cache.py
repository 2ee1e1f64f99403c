"""The prompt cache's index: longest prefix, budget, least recently used out. Caches are
stand-ins."""

from __future__ import annotations

import random
from typing import Any

from worker.prompt_cache import Cache, PromptCache


class Layer:
    """A stand-in for a layer's cache: knows its length."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    @property
    def nbytes(self) -> int:
        return self.tokens * 100


def cut(cache: Cache, tokens: int) -> Cache:
    return [Layer(layer.tokens - tokens) for layer in cache]


def uncuttable(cache: Cache, tokens: int) -> Cache | None:
    return None if tokens else list(cache)


def length(cache: Any) -> int:
    return int(cache[0].tokens)


def test_the_longest_common_prefix_of_any_entry_is_found() -> None:
    cache = PromptCache(1 << 20, cut, least_common=1)
    cache.insert("m", [1, 2, 3, 4], [Layer(4)])
    cache.insert("m", [1, 2, 9], [Layer(3)])
    found, known = cache.fetch("m", [1, 2, 3, 7, 8])
    assert (length(found), known) == (3, 3)
    assert cache.cached_tokens == 3


def test_what_all_chats_begin_with_is_read_again_and_a_chat_that_goes_on_is_not() -> None:
    cache = PromptCache(1 << 20, cut, least_common=4)
    cache.insert("m", [1, 2, 3, 4, 5, 6], [Layer(6)])
    cache.insert("m", [1, 2], [Layer(2)])
    assert cache.fetch("m", [1, 2, 3, 9, 9, 9])[1] == 2
    assert cache.fetch("m", [1, 8, 8, 8, 8, 8]) == (None, 0)
    assert cache.fetch("m", [1, 2, 3, 4, 9, 9])[1] == 4
    assert cache.fetch("m", [1, 2, 3])[1] == 2


def test_an_exact_match_leaves_one_token_to_feed() -> None:
    cache = PromptCache(1 << 20, cut)
    cache.insert("m", [1, 2, 3], [Layer(3)])
    found, known = cache.fetch("m", [1, 2, 3])
    assert (length(found), known) == (2, 2)


def test_models_do_not_share_entries() -> None:
    cache = PromptCache(1 << 20, cut)
    cache.insert("m", [1, 2, 3], [Layer(3)])
    assert cache.fetch("n", [1, 2, 3]) == (None, 0)
    cache.forget("m")
    assert cache.fetch("m", [1, 2, 3]) == (None, 0)
    assert cache.nbytes == 0


def test_the_next_turn_replaces_the_turn_before() -> None:
    cache = PromptCache(1 << 20, cut)
    cache.insert("m", [1, 2], [Layer(2)])
    cache.insert("m", [1, 2, 3, 4], [Layer(4)])
    cache.insert("m", [1, 2, 3, 4], [Layer(4)])
    assert (len(cache), cache.nbytes) == (1, 400)


def test_the_budget_holds_and_the_least_recently_used_goes() -> None:
    cache = PromptCache(1000, cut)
    cache.insert("m", [1] * 4, [Layer(4)])
    cache.insert("m", [2] * 4, [Layer(4)])
    cache.fetch("m", [1] * 5)
    cache.insert("m", [3] * 4, [Layer(4)])
    assert cache.nbytes <= 1000
    assert cache.fetch("m", [1] * 5)[1] == 4
    assert cache.fetch("m", [2] * 5)[1] == 0
    cache.insert("m", [4] * 99, [Layer(99)])
    assert cache.fetch("m", [4] * 99)[1] == 0


def test_a_cache_that_cannot_be_cut_serves_whole_prefixes_only() -> None:
    cache = PromptCache(1 << 20, uncuttable)
    cache.insert("m", [1, 2], [Layer(2)])
    cache.insert("m", [1, 2, 3, 4], [Layer(4)])
    found, known = cache.fetch("m", [1, 2, 3, 9])
    assert (length(found), known) == (2, 2)
    assert cache.fetch("m", [1, 9]) == (None, 0)


def test_the_index_agrees_with_a_plain_search() -> None:
    rng = random.Random(4)
    for _ in range(200):
        cache = PromptCache(1 << 20, cut, least_common=1)
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
        best = min(max(common, default=0), len(wanted) - 1)
        found, known = cache.fetch("m", wanted)
        assert known == best
        assert best == 0 or length(found) == best
