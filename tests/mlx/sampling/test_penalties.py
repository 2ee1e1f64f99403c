"""Presence and frequency penalties."""

from __future__ import annotations

import numpy as np

from tests.mlx.conftest import Bench
from worker.backends.sampling.logits_processors import LogitsProcessor
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
