"""logit_bias and the repetition penalty's window: mlx_lm's logits processors, in their order, for
rows of different settings in one batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from mlx_lm.sample_utils import make_logits_processors

from tests.mlx.conftest import Bench
from wire.messages import ChatJob, Sampling
from worker.backends.sampling.logits_processors import logits_processor_of, process_logits
from worker.backends.sampling.repetition_penalty import RecentTokens, context_size
from worker.backends.sampling.sampler import RowSampler
from worker.errors import WorkerError
from worker.sequence import Sequence

VOCABULARY = 60
PLAIN = {"repetition_penalty": 1.0, "seed": 1}


def sequence_of(sampling: Sampling, answer: list[int]) -> Sequence:
    job = ChatJob(
        job_id="job",
        owner="",
        model_id="",
        model_revision="",
        messages=(),
        sampling=sampling,
        submitted_ms=0,
    )
    return Sequence(job, emitted=tuple(answer))


def processed(
    logits: mx.array, settings: list[dict[str, Any]], tokens: list[list[int]]
) -> np.ndarray[Any, Any]:
    """The logits of rows whose prompts are empty and whose answers are ``tokens``."""
    sampled = [Sampling(**PLAIN | given) for given in settings]
    samplers = [
        RowSampler.of(
            sampling,
            len(answer),
            logits_processor_of(sequence_of(sampling, answer)),
            longest=len(answer) + 10,
        )
        for sampling, answer in zip(sampled, tokens, strict=True)
    ]
    inputs = mx.array([answer[-1] for answer in tokens])
    histories = [answer[:-1] for answer in tokens]
    recent = RecentTokens().advance(range(len(tokens)), samplers, histories, inputs)
    return np.array(process_logits(logits, samplers, inputs, recent).astype(mx.float32))


SETTINGS: list[dict[str, Any]] = [
    {"logit_bias": ((3, 5.0), (59, -100.0), (0, 100.0))},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 1.3, "repetition_context_size": 1},
    {"repetition_penalty": 0.8, "repetition_context_size": 3},
    {"repetition_penalty": 1.3, "repetition_context_size": 35},
    {"repetition_penalty": 1.3, "repetition_context_size": 0},
    {"repetition_penalty": 1.3, "repetition_context_size": 10**9},
    {"presence_penalty": 0.7},
    {"frequency_penalty": -0.4},
    {
        "logit_bias": ((3, 5.0), (7, -4.0)),
        "repetition_penalty": 1.4,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.3,
    },
]


@pytest.mark.parametrize("seed", range(3))
def test_each_rows_logits_are_the_librarys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = mx.array(rng.normal(size=(len(SETTINGS), VOCABULARY)).astype(np.float32) * 4)
    # The library's presence and frequency penalties look back on 20 tokens, ours on the answer.
    lengths = [19 if "presence" in str(given) or "frequency" in str(given) else 50
               for given in SETTINGS]  # fmt: skip
    tokens = [rng.integers(0, VOCABULARY, length).tolist() for length in lengths]
    ours = processed(logits, SETTINGS, tokens)
    for row, given in enumerate(SETTINGS):
        asked = given | {"logit_bias": dict(given.get("logit_bias", ())) or None}
        expected = mx.array(np.array(logits[row : row + 1]))
        for process in make_logits_processors(**asked):
            expected = process(mx.array(tokens[row]), expected)
        assert np.allclose(ours[row], np.array(expected)[0], rtol=1e-6, atol=1e-6), given
        alone = processed(logits[row : row + 1], [given], [tokens[row]])
        assert np.array_equal(alone[0], ours[row]), given


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_rows_that_ask_for_nothing_keep_their_logits_to_the_bit(dtype: mx.Dtype) -> None:
    rng = np.random.default_rng(4)
    logits = mx.array(rng.normal(size=(len(SETTINGS) + 2, VOCABULARY)) * 5).astype(dtype)
    tokens = [rng.integers(0, VOCABULARY, 19).tolist() for _ in range(len(logits))]
    default = {"repetition_penalty": 1.1}
    changed = processed(logits, [{}, *SETTINGS, default], tokens)
    assert np.array_equal(changed[0], np.array(logits.astype(mx.float32))[0])
    alone = processed(logits[-1:], [default], tokens[-1:])
    assert np.array_equal(changed[-1], alone[0])


def test_a_batch_that_asks_for_nothing_keeps_its_logits() -> None:
    rows = [RowSampler.of(Sampling(**PLAIN), 0)]
    logits = mx.zeros((1, 4))
    inputs = mx.zeros((1,), dtype=mx.int32)
    assert process_logits(logits, rows, inputs) is logits
    assert RecentTokens().advance([0], rows, [[1]], inputs) is None


@pytest.mark.parametrize("size", [1, 2, 19, 20, 21, 40, 0])
def test_a_window_moves_on_as_it_is_made_anew(size: int) -> None:
    rng = np.random.default_rng(size)
    tokens = rng.integers(0, VOCABULARY, (3, 60)).tolist()
    sizes = [size, 7, 20]
    rows = [
        RowSampler.of(
            Sampling(seed=1, repetition_penalty=1.2, repetition_context_size=asked), 0, longest=60
        )
        for asked in sizes
    ]
    moving = RecentTokens()
    for at in range(5, 60):
        inputs = mx.array([row[at] for row in tokens])
        window = moving.advance("abc", rows, [row[:at] for row in tokens], inputs)
        assert window is not None
        for row, asked, seen in zip(tokens, sizes, window.tolist(), strict=True):
            assert set(seen) == set(row[: at + 1][-asked or None :]), (at, asked)


def test_a_window_is_no_longer_than_the_row_and_the_default_is_one_size() -> None:
    assert [context_size(asked, 100) for asked in (1, 20, 21, 99, 10**9, 0)] == [
        1, 20, 21, 99, 100, 100,
    ]  # fmt: skip
    assert context_size(20, 3) == context_size(10**9, 3) == 20


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.3, "repetition_context_size": 1},
        {"repetition_penalty": 1.3, "repetition_context_size": 5},
        {"repetition_penalty": 1.3, "repetition_context_size": 64},
        {"repetition_penalty": 1.3, "repetition_context_size": 0},
        {"repetition_penalty": 1.3, "repetition_context_size": 100_000},
        {"logit_bias": ((11, 3.0), (200, 4.0), (1999, 2.5))},
        {"logit_bias": ((11, 3.0),), "repetition_penalty": 1.2, "repetition_context_size": 33},
    ],
)
@pytest.mark.parametrize("trained", [False, True])
def test_greedy_answers_are_the_librarys(
    bench: Bench, demo: Bench, settings: dict[str, Any], trained: bool
) -> None:
    if trained:
        bench = demo
        settings = settings | {"logit_bias": settings.get("logit_bias", ())[:2]}
    given = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0} | settings
    chat = bench.chat("hello there, and why?", **given)
    bench.start(chat)
    bench.run()
    model, tokenizer = mlx_lm.load(bench.record.path)
    asked = settings | {"logit_bias": dict(settings.get("logit_bias", ())) or None}
    expected = mlx_lm.stream_generate(
        model,
        tokenizer,
        chat.prompt_ids,
        max_tokens=32,
        logits_processors=make_logits_processors(**asked),
    )
    assert chat.generated == [response.token for response in expected]


@pytest.mark.parametrize("field", ["logit_bias", "stop_token_ids"])
@pytest.mark.parametrize("beyond", [None, 0, 10**12])
def test_an_id_that_the_model_does_not_have_is_refused_by_name(
    bench: Bench, field: str, beyond: int | None
) -> None:
    vocabulary = json.loads((Path(bench.record.path) / "config.json").read_text())["vocab_size"]
    token = -1 if beyond is None else vocabulary + beyond
    value = ((token, 5.0),) if field == "logit_bias" else (3, token)
    chat = bench.chat("hello", **{field: value})
    bench.backend.prepare(chat)
    with pytest.raises(WorkerError, match=f"^{field}: {token} is no token id") as refused:
        bench.backend.add(chat)
    assert (refused.value.code, refused.value.param) == ("invalid_request", field)
    assert not bench.backend.sequences()
    last = vocabulary - 1
    accepted = ((last, 1000.0),) if field == "logit_bias" else (last,)
    answer = bench.answer("hello", temperature=0.0, max_tokens=4, **{field: accepted})
    assert (answer == [last] * 4) is (field == "logit_bias")
