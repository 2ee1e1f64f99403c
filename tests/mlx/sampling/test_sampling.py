"""The row sampler: each row by its own settings, and the distributions that follow from the
settings."""

from __future__ import annotations

from collections import Counter

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.sample_utils import apply_top_p, make_repetition_penalty

from wire.messages import REPETITION_CONTEXT_SIZE, ChatJob, Sampling
from worker.backends.cpu import partition
from worker.backends.sampling import top_p
from worker.backends.sampling.logits_processors import logits_processor_of, process_logits
from worker.backends.sampling.repetition_penalty import penalise
from worker.backends.sampling.sampler import RowSampler, sample
from worker.backends.sampling.top_p import nucleus, nucleus_threshold
from worker.sequence import Sequence

LOGITS = [2.0, 1.0, 0.5, 0.0, -1.0, -3.0]


def row(**settings: float) -> RowSampler:
    defaults = {"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 0.0, "seed": 1}
    return RowSampler.of(Sampling(**{**defaults, **settings}), position=0)


def penalised(logits: mx.array, rows: list[RowSampler], recent: mx.array) -> mx.array:
    """The next tokens after the repetition penalty."""
    inputs = mx.zeros((len(rows),), dtype=mx.int32)
    return sample(process_logits(logits, rows, inputs, recent), rows)


def draws(sampler: RowSampler, count: int) -> Counter[int]:
    logits = mx.array([LOGITS])
    return Counter(int(sample(logits, [sampler]).item()) for _ in range(count))


def test_draws_follow_the_softmax() -> None:
    expected = np.exp(LOGITS) / np.exp(LOGITS).sum()
    seen = draws(row(), 4000)
    for token, share in enumerate(expected):
        # Four standard deviations of a binomial share.
        assert abs(seen[token] / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5 + 1e-9


def test_a_lower_temperature_is_more_peaked_and_zero_is_greedy() -> None:
    assert draws(row(temperature=0.3), 500)[0] > draws(row(temperature=1.5), 500)[0]
    assert draws(row(temperature=0.0), 20) == Counter({0: 20})
    assert draws(row(top_p=0.0), 20) == Counter({0: 20})


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.73, 0.9, 0.999, 1.0])
def test_the_nucleus_is_the_librarys(top_p: float) -> None:
    rng = np.random.default_rng(0)
    logits = mx.array(rng.normal(size=(8, 300)).astype(np.float32) * 3)
    ours = nucleus(logits, mx.full((8, 1), top_p))
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    theirs = apply_top_p(logprobs, top_p) if top_p < 1 else logprobs
    assert (np.isinf(np.array(ours)) == np.isinf(np.array(theirs))).all()


@pytest.mark.parametrize("few", [1, 4, 5000])
@pytest.mark.parametrize("count", [1, 2, 7, 256, 1001, 4096])
def test_halving_a_row_finds_the_value_that_sorting_finds(
    count: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_p, "on_cpu", lambda: True)
    monkeypatch.setattr(partition, "SORTED_AT_ONCE", few)
    rng = np.random.default_rng(count)
    # Whole numbers, so that sums are exact, many of them alike.
    values = rng.integers(0, 50, size=(64, count)).astype(np.float32)
    bounds = (values.sum(axis=1) * np.linspace(0, 1, 64)).astype(np.float32)[:, None]
    ordered = np.sort(values, axis=1)
    beyond = np.cumsum(ordered, axis=1) > bounds
    expected = np.where(
        beyond.any(axis=1), ordered[np.arange(64), beyond.argmax(axis=1)], ordered[:, -1]
    )
    assert np.array_equal(
        np.array(nucleus_threshold(mx.array(values), mx.array(bounds)))[:, 0], expected
    )


def test_a_tiny_top_p_keeps_the_likeliest_and_forbidden_tokens_stay_forbidden() -> None:
    logits = mx.array([[*LOGITS, -mx.inf, -mx.inf]])
    assert np.isfinite(np.array(nucleus(logits, mx.array([[1e-9]])))).tolist() == [
        [True, *[False] * 7]
    ]
    assert np.isfinite(np.array(nucleus(logits, mx.array([[1.0]])))).tolist() == [
        [True] * 6 + [False] * 2
    ]


def test_the_penalty_is_the_librarys() -> None:
    tokens = [3, 1, 1, 5]
    theirs = make_repetition_penalty(1.3, context_size=REPETITION_CONTEXT_SIZE)(
        mx.array(tokens), mx.array([LOGITS])
    )
    ours = penalise(mx.array([LOGITS]), mx.array([tokens]), mx.array([[1.3]]))
    assert np.array_equal(np.array(ours), np.array(theirs))


def test_a_rows_token_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(1)
    logits = mx.array(rng.normal(size=(6, 200)).astype(np.float32))
    settings = [
        {"temperature": 0.0},
        {"temperature": 0.7, "top_p": 0.9},
        {"seed": 7},
        {"seed": 7, "top_p": 0.5},
        {"temperature": 2.0},
        {"temperature": 0.7, "repetition_penalty": 1.4},
    ]
    recent = mx.array(rng.integers(0, 200, size=(6, REPETITION_CONTEXT_SIZE)))
    together = penalised(logits, [row(**s) for s in settings], recent).tolist()
    alone = [
        int(penalised(logits[i : i + 1], [row(**s)], recent[i : i + 1]).item())
        for i, s in enumerate(settings)
    ]
    assert together == alone


def test_keys_differ_by_seed_and_position_and_repeat() -> None:
    keys = {
        (seed, position): RowSampler(1, 1, 1, seed, position).next_key()
        for seed in range(40)
        for position in range(40)
    }
    assert len(set(keys.values())) == 1600
    sampler = RowSampler(1, 1, 1, 2**63 - 1, 0)
    first, second = sampler.next_key(), sampler.next_key()
    assert first != second
    assert RowSampler(1, 1, 1, 2**63 - 1, 1).next_key() == second


TINY = (1e-5, 9e-6, 1e-20, 1e-38, 1e-40, 1e-46, 5e-324)
WIDE = [20.0, 30.0, 12.0, 0.1, -4.0, -60.0]


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("temperature", TINY)
def test_a_tiny_temperature_takes_the_likeliest_token_beside_others(
    temperature: float, dtype: mx.Dtype
) -> None:
    logits = mx.array([[800.0, 2.0, 3.0, 900.0, 1.0]] * 3).astype(dtype)
    for bound in (1.0, 0.9):
        rows = [row(temperature=temperature, top_p=bound), row(), row(temperature=0.0)]
        assert sample(logits, rows).tolist() == [3, 3, 3]
        assert sample(logits[:1], [row(temperature=temperature, top_p=bound)]).tolist() == [3]


@pytest.mark.parametrize("top_p", TINY)
def test_a_tiny_top_p_takes_the_likeliest_token(top_p: float) -> None:
    assert draws(row(temperature=2.0, top_p=top_p), 20) == Counter({0: 20})


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("penalty", TINY)
def test_a_tiny_penalty_repeats_the_likeliest_of_what_was_said(
    penalty: float, dtype: mx.Dtype
) -> None:
    logits = mx.array([WIDE, WIDE]).astype(dtype)
    recent = mx.array(
        [[2, 0, 1] + [2] * (REPETITION_CONTEXT_SIZE - 3), [5] * REPETITION_CONTEXT_SIZE]
    )
    for temperature in (0.0, 1e-5, 0.01):
        rows = [row(repetition_penalty=penalty, temperature=temperature), row(temperature=0.0)]
        assert penalised(logits, rows, recent).tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
@pytest.mark.parametrize("penalties", [(2.0, 2.0), (-2.0, -2.0), (0.0, 1e-46), (1e-320, 0.0)])
def test_the_largest_penalties_of_a_long_answer_stay_finite(
    penalties: tuple[float, float], dtype: mx.Dtype
) -> None:
    presence, frequency = penalties
    settings = Sampling(seed=1, presence_penalty=presence, frequency_penalty=frequency)
    job = ChatJob(
        job_id="job",
        owner="",
        model_id="",
        model_revision="",
        messages=(),
        sampling=settings,
        submitted_ms=0,
    )
    processor = logits_processor_of(Sequence(job, emitted=(1,) * 32768 + (2,) * 32767))
    assert processor is not None
    sampler = RowSampler.of(settings, 65535, processor)
    changed = process_logits(mx.array([LOGITS]).astype(dtype), [sampler], mx.array([2]))
    assert np.isfinite(np.array(changed)).all()
