"""min_p, XTC and top_k: what they keep is what mlx_lm's sampler keeps, row by row in one batch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm import sample_utils

from wire.messages import Sampling
from worker.backends.sampling import filters
from worker.backends.sampling.filters import Filters, keep_likely, likeliest
from worker.backends.sampling.sampler import RowSampler, coin_of, sample
from worker.backends.sampling.special_tokens import SpecialTokens

VOCABULARY = 300
SPECIAL = SpecialTokens(frozenset({3, 5}), frozenset({7}))
SETTINGS: list[dict[str, Any]] = [
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": VOCABULARY - 1},
    {"top_k": VOCABULARY},
    {"top_k": 10 * VOCABULARY},
    {"min_p": 0.02},
    {"min_p": 0.3},
    {"min_p": 1.0},
    {"xtc_probability": 1.0, "xtc_threshold": 0.1},
    {"xtc_probability": 1.0, "xtc_threshold": 0.01},
    {"xtc_probability": 1.0, "xtc_threshold": 0.0},
    {"xtc_probability": 1.0, "xtc_threshold": 0.5},
    {"top_p": 0.9, "top_k": 5},
    {"top_p": 0.5, "min_p": 0.05},
    {"min_p": 0.02, "xtc_probability": 1.0, "xtc_threshold": 0.05},
    {"xtc_probability": 1.0, "xtc_threshold": 0.02, "top_k": 3},
    {"top_p": 0.95, "min_p": 0.01, "xtc_probability": 1.0, "xtc_threshold": 0.03, "top_k": 4},
]


def settings_of(**given: Any) -> Sampling:
    plain = {"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 1}
    return Sampling(**plain | given)


def filters_of(**given: Any) -> Filters:
    made = Filters.of(settings_of(**given), SPECIAL.kept_by_xtc)
    assert made is not None
    return made


def logits_of(rows: int, seed: int = 0) -> mx.array:
    rng = np.random.default_rng(seed)
    return mx.array(rng.normal(size=(rows, VOCABULARY)).astype(np.float32) * 3)


def theirs(logits: mx.array, monkeypatch: pytest.MonkeyPatch, **given: Any) -> np.ndarray[Any, Any]:
    """The log-probabilities [1, vocabulary] that mlx_lm's sampler draws from."""
    seen: list[mx.array] = []

    def noted(logprobs: mx.array, _: float) -> mx.array:
        seen.append(logprobs)
        return mx.argmax(logprobs, axis=-1)

    monkeypatch.setattr(sample_utils, "categorical_sampling", noted)
    if given.get("top_k", 0) >= VOCABULARY:
        given["top_k"] = 0  # The library refuses what changes nothing.
    exempt = sorted(SPECIAL.kept_by_xtc)
    sampler = sample_utils.make_sampler(1.0, **given, xtc_special_tokens=exempt)
    sampler(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
    return np.array(seen[0])


@pytest.mark.parametrize("seed", range(4))
def test_each_row_keeps_what_the_library_keeps(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = logits_of(len(SETTINGS), seed)
    rows = [filters_of(**given) for given in SETTINGS]
    kept = np.array(keep_likely(logits, rows, [0.5] * len(rows)))
    for row, given in enumerate(SETTINGS):
        expected = theirs(logits[row : row + 1], monkeypatch, **given)[0]
        assert np.array_equal(np.isinf(kept[row]), np.isinf(expected)), given
        finite = np.isfinite(expected)
        assert finite.sum() > 0
        assert np.allclose(kept[row][finite], expected[finite], rtol=0, atol=1e-6), given
        alone = np.array(keep_likely(logits[row : row + 1], [rows[row]], [0.5]))
        assert np.array_equal(alone[0], kept[row]), given


def test_each_filter_sees_what_the_one_before_has_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """XTC's probabilities are among what top_p has left: 0.4 of 0.9 is above 0.44, of 1 it isn't;
    and top_k counts what XTC has left."""
    shares = [0.5, 0.4, 0.06, 0.04, *[1e-9] * (VOCABULARY - 4)]
    logits = mx.log(mx.array([shares]))
    both = {"xtc_probability": 1.0, "xtc_threshold": 0.44, "top_p": 0.85}
    dropped = np.array(keep_likely(logits, [filters_of(**both, top_k=1)], [0.0]))[0]
    assert np.isfinite(dropped).nonzero()[0].tolist() == [1]
    without = both | {"top_p": 1.0}
    assert np.isfinite(theirs(logits, monkeypatch, **without)[0])[0]
    whole = np.array(keep_likely(logits, [filters_of(**without, top_k=1)], [0.0]))[0]
    assert np.isfinite(whole).nonzero()[0].tolist() == [0]


def test_top_k_is_exact_where_tokens_are_equally_likely() -> None:
    logits = mx.array([[1.0, 2.0, 2.0, 0.0, 2.0, -mx.inf]] * 5)
    kept = np.isfinite(np.array(likeliest(logits, [1, 2, 3, 5, 0])))
    assert [row.nonzero()[0].tolist() for row in kept] == [
        [1],
        [1, 2],
        [1, 2, 4],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4],
    ]


def test_ends_and_newlines_are_never_dropped_by_xtc() -> None:
    logits = np.full((1, 10), -20.0, dtype=np.float32)
    logits[0, [3, 7, 8, 9]] = [4.0, 3.9, 3.8, 3.7]
    bounds = {"xtc_probability": 1.0, "xtc_threshold": 0.1}
    kept = np.array(keep_likely(mx.array(logits), [filters_of(**bounds)], [0.0]))[0]
    assert np.isfinite(kept).nonzero()[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9]


def test_ids_beyond_the_logits_harm_nothing() -> None:
    row = Filters(1.0, 0.0, 1.0, 0.1, 0, frozenset({2, 4000}))
    assert keep_likely(mx.array([[1.0, 2.0, 3.0]]), [row], [0.0]).shape == (1, 3)


def test_the_coin_falls_as_often_as_asked_and_is_not_the_draw() -> None:
    row = RowSampler.of(settings_of(xtc_probability=0.3, xtc_threshold=0.1), 0)
    keys = [row.next_key() for _ in range(4000)]
    coins = np.array([coin_of(key) for key in keys])
    assert abs((coins <= 0.3).mean() - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5
    assert abs(np.corrcoef(coins, [key[0] for key in keys])[0, 1]) < 4 / 4000**0.5
    again = RowSampler.of(settings_of(), position=1234)
    assert coin_of(again.next_key()) == coins[1234]


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_xtc_applies_to_its_share_of_the_tokens(probability: float, share: float) -> None:
    given = {"xtc_probability": probability, "xtc_threshold": 0.1, "min_p": 1e-6}
    row = RowSampler.of(settings_of(**given), 0)
    # The first is always taken, unless XTC drops it: then the second, which is above, too.
    logits = mx.array([[20.0, 18.0, -20.0]])
    seen = Counter(int(sample(logits, [row]).item()) for _ in range(1500))
    taken = 1 / (1 + np.exp(-2.0))
    expected = (1 - share) * (1 - taken) + share
    deviation = (expected * (1 - expected) / 1500) ** 0.5
    assert abs(seen[1] / 1500 - expected) < 4 * deviation + 1e-3


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_what_is_kept_at_the_temperature(temperature: float) -> None:
    logits = mx.array([[2.0, 1.0, 0.5, 0.0, -1.0, -3.0]])
    row = RowSampler.of(settings_of(temperature=temperature, top_k=3), 0)
    shares = np.exp(np.array([2.0, 1.0, 0.5]) / temperature)
    seen = Counter(int(sample(logits, [row]).item()) for _ in range(3000))
    assert set(seen) <= {0, 1, 2}
    for token, share in enumerate(shares / shares.sum()):
        assert abs(seen[token] / 3000 - share) < 4 * (share * (1 - share) / 3000) ** 0.5


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_rows_without_filters_draw_the_same_beside_rows_with_them(dtype: mx.Dtype) -> None:
    logits = logits_of(2 * len(SETTINGS), 9).astype(dtype)
    plain = [
        {"seed": 1},
        {"seed": 2, "top_p": 0.6},
        {"temperature": 0.0, "top_k": 4},
        {"seed": 3, "temperature": 1.7},
    ]
    asked = [plain[i // 2 % 4] if i % 2 else SETTINGS[i // 2] for i in range(len(logits))]
    rows = [RowSampler.of(settings_of(**given), 5, special=SPECIAL) for given in asked]
    together = sample(logits, rows).tolist()
    own = [i for i in range(len(asked)) if i % 2]
    again = [RowSampler.of(settings_of(**asked[i]), 5) for i in own]
    assert sample(logits[mx.array(own)], again).tolist() == [together[i] for i in own]
    for i, given in enumerate(asked):
        alone = RowSampler.of(settings_of(**given), 5, special=SPECIAL)
        assert sample(logits[i : i + 1], [alone]).tolist() == [together[i]], given


def test_rows_without_filters_never_come_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [settings_of(seed=i, top_p=0.9, top_k=k) for i, k in enumerate((0, -1, 0))]
    samplers = [RowSampler.of(row, 0, special=SPECIAL) for row in rows]
    monkeypatch.setattr(filters, "keep_likely", None)
    monkeypatch.setattr("worker.backends.sampling.sampler.keep_likely", None)
    assert sample(logits_of(3), samplers).shape == (3,)
    assert [sampler.filters for sampler in samplers] == [None] * 3
