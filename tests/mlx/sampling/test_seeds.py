"""Every sampling field: a seed says the same alone, in a batch with rows of other settings, and
after a crash in the middle; rows that ask for none of them are drawn as without such neighbours."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from tests.mlx.conftest import Bench
from worker.backends.sampling import sampler, top_p
from worker.backends.sampling.logit_bias import LogitBias
from worker.sequence import Sequence

SAMPLED = {"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0}
FIELDS: list[dict[str, Any]] = [
    {"top_k": 1},
    {"top_k": 40},
    {"min_p": 0.02, "top_p": 0.95},
    {"xtc_probability": 0.5, "xtc_threshold": 0.02},
    {"xtc_probability": 1.0, "xtc_threshold": 0.001, "top_k": 30, "min_p": 0.0001},
    {"logit_bias": ((7, 6.0), (300, 5.0), (9, -100.0))},
    {"repetition_context_size": 1, "repetition_penalty": 1.5, "temperature": 0.3},
    {"repetition_context_size": 60, "repetition_penalty": 1.5, "temperature": 0.3},
    {"repetition_context_size": 0, "repetition_penalty": 1.5, "temperature": 0.3},
    {"presence_penalty": 2.0, "frequency_penalty": 1.0, "temperature": 0.3},
    {"ignore_eos": True, "logit_bias": ((2, 8.0),)},
    {"min_tokens": 20, "logit_bias": ((2, 8.0),)},
    {"stop_token_ids": (2000,), "min_tokens": 9, "logit_bias": ((2000, 6.5),)},
    {"frequency_penalty": 1.5, "temperature": 0.0, "logit_bias": ((7, 8.0),)},
]
"""Each is named by its first field."""
PLAIN: list[dict[str, Any]] = [
    {},
    {"top_p": 0.7},
    {"temperature": 0.0},
    {"temperature": 0.6, "repetition_penalty": 1.2},
]


def chats_of(bench: Bench, settings: list[dict[str, Any]]) -> list[Sequence]:
    return [
        bench.chat(f"question {seed}", seed=seed, **SAMPLED | given)
        for seed, given in enumerate(settings)
    ]


def alone(bench: Bench, settings: list[dict[str, Any]]) -> list[list[int]]:
    answers = []
    for chat in chats_of(bench, settings):
        bench.start(chat)
        bench.run()
        answers.append(chat.generated)
    bench.forget()
    return answers


def test_every_field_says_the_same_alone_and_among_others(bench: Bench) -> None:
    settings = [*FIELDS, *PLAIN, *FIELDS][:32]
    expected = alone(bench, settings)
    chats = chats_of(bench, settings)
    bench.start(*chats[:9])
    bench.run(until=lambda: len(chats[0].generated) >= 4)
    bench.start(*chats[9:])
    bench.run()
    for chat, answer, given in zip(chats, expected, settings, strict=True):
        assert chat.generated == answer, given


@pytest.mark.parametrize("cut", [1, 8, 19])
def test_every_field_says_the_same_after_a_crash(bench: Bench, cut: int) -> None:
    expected = alone(bench, FIELDS)
    again = []
    for seed, (given, whole) in enumerate(zip(FIELDS, expected, strict=True)):
        if len(whole) > cut:
            settings = SAMPLED | given
            chat = bench.chat(f"question {seed}", seed=seed, emitted=tuple(whole[:cut]), **settings)
            again.append((chat, whole[cut:]))
    assert len(again) >= len(FIELDS) - 1
    bench.start(*(chat for chat, _ in again))
    bench.run()
    for chat, rest in again:
        assert chat.generated == rest, chat.job.sampling


@pytest.mark.parametrize("given", FIELDS, ids=lambda given: "-".join(given))
def test_each_field_changes_what_is_said(bench: Bench, given: dict[str, Any]) -> None:
    """Else the tests above show nothing."""
    without = dict(list(given.items())[1:])
    said = [
        [bench.answer("hello", seed=seed, **SAMPLED | settings) for seed in range(4)]
        for settings in (given, without)
    ]
    assert said[0] != said[1]


def test_plain_rows_take_the_same_operations_beside_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(bench, PLAIN)
    drawn: list[tuple[int, bool]] = []
    draw = top_p.gumbel_max

    def noted(logits: mx.array, *arguments: Any) -> mx.array:
        drawn.append((logits.shape[0], len(arguments) > 2 and arguments[2] is not None))
        return draw(logits, *arguments)

    monkeypatch.setattr(sampler, "gumbel_max", noted)
    chats = chats_of(bench, [*PLAIN, *FIELDS])
    bench.start(*chats)
    bench.run()
    assert [chat.generated for chat in chats[: len(PLAIN)]] == expected
    # The rows with filters, five of them, are drawn by themselves.
    assert (5, False) in drawn
    assert not any(rows == len(chats) for rows, _ in drawn)
    drawn.clear()
    bench.forget()
    monkeypatch.setattr(sampler, "keep_likely", None)
    monkeypatch.setattr(LogitBias, "at", None)
    chats = chats_of(bench, PLAIN)
    bench.start(*chats)
    bench.run()
    assert [chat.generated for chat in chats] == expected
    assert (len(PLAIN), True) in drawn
