"""Presence and frequency penalties."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.mlx.conftest import Bench
from worker.backends.sampling.logits_processors import LogitsProcessor, TokenCounts
from worker.sequence import Sequence


def test_penalties_count_what_was_said_and_survive_a_crash(bench: Bench) -> None:
    plain = bench.answer("hello", temperature=0.0, repetition_penalty=1.0, max_tokens=60)
    settings = {
        "temperature": 0.0,
        "repetition_penalty": 1.0,
        "max_tokens": 60,
        "frequency_penalty": 2.0,
    }
    whole = bench.answer("hello", presence_penalty=2.0, **settings)
    assert len(set(whole)) > len(set(plain))
    again = bench.chat("hello", emitted=tuple(whole[:20]), presence_penalty=2.0, **settings)
    bench.start(again)
    bench.run()
    assert again.generated == whole[20:]


def test_a_penalty_grows_with_what_was_said(bench: Bench) -> None:
    job = bench.chat("hello", presence_penalty=0.5, frequency_penalty=0.25).job
    processor = LogitsProcessor(Sequence(job, emitted=(3, 3, 1)), None)
    processor.accept(3)
    bias = np.zeros(5, dtype=np.float32)
    processor.write_bias(bias)
    assert bias.tolist() == [0, -0.75, 0, -1.25, 0]


@pytest.mark.parametrize("begun", [0, 1, 40])
def test_counts_grow_with_the_answer(begun: int) -> None:
    answer = (np.random.default_rng(begun).zipf(1.4, 400) % 5000).tolist()
    counts = TokenCounts(answer[:begun])
    for end, token in enumerate(answer[begun:], begun + 1):
        counts.add(token)
        ids, lost = counts.penalties(0.5, 2.0)
        found = dict(zip(ids.tolist(), lost.tolist(), strict=True))
        assert found == {one: 0.5 + 2 * n for one, n in Counter(answer[:end]).items()}
    assert counts.penalties(1e6, 0.0)[1].tolist() == [10_000.0] * len(set(answer))
