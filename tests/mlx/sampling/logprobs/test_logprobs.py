"""Log-probabilities equal a plain log-softmax in numpy of the library's own logits: alone, in
company, behind a cut."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.mlx.conftest import Bench
from tests.mlx.sampling.logprobs.numpy_logprobs import CLOSE, Told, check, log_softmax
from worker.backends.sampling.logprobs import measure, measure_prompt
from worker.sequence import Sequence

SETTINGS: dict[str, Any] = {"temperature": 0.9, "top_p": 0.8, "repetition_penalty": 1.3}
TEXTS = [f"question {i}: " + "why? " * (i * 5 % 23) for i in range(32)]


def asked(bench: Bench, number: int, **more: Any) -> Sequence:
    """Every third chat asks, for up to twenty."""
    likeliest = (0, 5, 20)[number % 9 // 3] if number % 3 == 0 else None
    return bench.chat(TEXTS[number], **{**SETTINGS, "seed": number, "logprobs": likeliest, **more})


@pytest.mark.parametrize("likeliest", [0, 1, 20])
def test_alone_a_token_has_what_numpy_says(bench: Bench, model_of: Any, likeliest: int) -> None:
    chat = bench.chat(TEXTS[3], **SETTINGS, logprobs=likeliest)
    bench.start(chat)
    check(model_of(bench), Told().run(bench), chat)


def test_among_thirty_two_too_and_the_others_say_the_same_to_the_bit(
    bench: Bench, model_of: Any
) -> None:
    plain = [asked(bench, number, logprobs=None) for number in range(32)]
    some = [asked(bench, number) for number in range(32)]
    for chats in (plain, some):
        bench.forget()
        told = Told()
        bench.start(*chats[:10])
        told.run(bench, until=lambda chats=chats: len(chats[0].generated) >= 5)  # type: ignore[misc]
        bench.start(*chats[10:])
        told.run(bench)
    assert [chat.generated for chat in some] == [chat.generated for chat in plain]
    for chat in some:
        check(model_of(bench), told, chat)


@pytest.mark.parametrize("cut", [1, 13])
def test_behind_a_cut_the_rest_has_the_same(bench: Bench, model_of: Any, cut: int) -> None:
    whole = bench.chat("tell me something", **SETTINGS, logprobs=3)
    bench.start(whole)
    first = Told().run(bench).of(whole)
    bench.forget()
    emitted = tuple(whole.generated[:cut])
    rest = bench.chat("tell me something", emitted=emitted, **SETTINGS, logprobs=3)
    bench.start(rest)
    told = Told().run(bench)
    assert [*emitted, *rest.generated] == whole.generated
    check(model_of(bench), told, rest)
    for one, other in zip(first[cut:], told.of(rest), strict=True):
        assert abs(one.logprob - other.logprob) < CLOSE


def test_whoever_leaves_takes_no_other_rows(bench: Bench, model_of: Any) -> None:
    chats = [asked(bench, number, logprobs=2) for number in range(4)]
    bench.start(*chats)
    told = Told().run(bench, until=lambda: len(chats[1].generated) >= 4)
    bench.backend.remove(chats[1])
    told.run(bench)
    for chat in (chats[0], *chats[2:]):
        check(model_of(bench), told, chat)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("likeliest", [0, 3, 50])
def test_logits_of_any_kind_are_widened_first(dtype: Any, likeliest: int) -> None:
    logits = (mx.random.normal((4, 40), key=mx.random.key(3)) * 8).astype(dtype)
    logits[2, 5] = -mx.inf
    tokens = [3, 39, 5, 0]
    rows = log_softmax(np.array(logits.astype(mx.float32)))
    found = measure_prompt(logits, tokens, likeliest)
    for one, token, row in zip(found, tokens, rows, strict=True):
        assert len(one.top) == min(likeliest, 40)
        assert one.logprob == row[token] or abs(one.logprob - row[token]) < CLOSE
    assert found[2].logprob == -np.inf


def test_rows_that_do_not_ask_are_not_measured() -> None:
    logits, tokens = mx.zeros((3, 8)), mx.array([1, 2, 3])
    assert measure(logits, tokens, ["a", "b", "c"], [None, None, None]) is None
    found = measure(logits, tokens, ["a", "b", "c"], [None, 0, 2])
    assert found is not None
    assert found.values.shape[0] == 2
    (first, one), (second, other) = found.read()
    assert (first, second) == ("b", "c")
    assert (len(one.top), len(other.top)) == (0, 2)
    assert abs(one.logprob + np.log(8)) < CLOSE
