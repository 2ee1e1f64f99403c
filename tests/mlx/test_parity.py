"""Text that must be equal: to mlx_lm's own, alone and in a batch, after a cut, with and without
reuse."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx_lm
import pytest
from mlx_lm.sample_utils import make_logits_processors

from tests.mlx.conftest import Bench
from wire.messages import Message
from worker.backends.batching.decode_batch import DecodeBatch

pytestmark = pytest.mark.usefixtures("chunks_may_take_long")
TEXTS = [f"question {i}: " + "why? " * (i * 5 % 23) for i in range(32)]
GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}


def library(bench: Bench, text: str, **kwargs: Any) -> list[int]:
    """mlx_lm's own tokens for the same chat."""
    model, tokenizer = mlx_lm.load(bench.record.path)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True
    )
    return [
        r.token for r in mlx_lm.stream_generate(model, tokenizer, prompt, max_tokens=32, **kwargs)
    ]


@pytest.mark.parametrize("text", TEXTS[:4])
def test_greedy_tokens_equal_the_librarys(bench: Bench, text: str) -> None:
    assert bench.answer(text, **GREEDY) == library(bench, text)


def test_greedy_tokens_with_a_penalty_equal_the_librarys(bench: Bench) -> None:
    settings = {**GREEDY, "repetition_penalty": 1.3}
    processors = make_logits_processors(repetition_penalty=1.3)
    for text in TEXTS[:4]:
        assert bench.answer(text, **settings) == library(bench, text, logits_processors=processors)


@pytest.mark.parametrize(
    "settings", [GREEDY, {"top_p": 1.0}, {}], ids=["greedy", "sampled", "defaults"]
)
def test_alone_and_among_thirty_two_the_same_seed_says_the_same(
    bench: Bench, settings: dict[str, float]
) -> None:
    some = range(0, len(TEXTS), 4)  # Each of them alone takes as long as all together.
    alone = [bench.answer(TEXTS[i], seed=i, **settings) for i in some]
    bench.forget()
    chats = [bench.chat(text, seed=i, **settings) for i, text in enumerate(TEXTS)]
    bench.start(*chats[:10])
    bench.run(until=lambda: len(chats[0].generated) >= 5)
    bench.start(*chats[10:])
    bench.run()
    assert [chats[i].generated for i in some] == alone


def test_a_first_token_is_returned_before_the_second_is_computed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[object] = []
    compute = DecodeBatch._compute

    def counted(batch: DecodeBatch, *args: Any, **kwargs: Any) -> mx.array:
        computed.append(batch)
        return compute(batch, *args, **kwargs)

    monkeypatch.setattr(DecodeBatch, "_compute", counted)
    chats = [bench.chat(text) for text in TEXTS[:3]]
    bench.start(*chats)
    bench.run(until=lambda: all(chat.generated for chat in chats))
    assert len(computed) == 1
    bench.run()
    assert all(len(chat.generated) == 32 for chat in chats)


@pytest.mark.parametrize("shown", [1, 2])
@pytest.mark.parametrize("limit", [1, 2, 32])
def test_whoever_comes_at_the_first_tokens_changes_nothing(
    bench: Bench, shown: int, limit: int
) -> None:
    settings = [{"seed": 1, "max_tokens": limit}, {"seed": 2}, {"seed": 3}]
    alone = [
        bench.answer(text, **setting) for text, setting in zip(TEXTS[:3], settings, strict=True)
    ]
    for leaves in (False, True):
        bench.forget()
        first, second, third = (
            bench.chat(text, **setting) for text, setting in zip(TEXTS[:3], settings, strict=True)
        )
        bench.start(first, second)
        bench.run(until=lambda shown=shown, second=second: len(second.generated) >= shown)  # type: ignore[misc]
        if leaves:
            bench.backend.remove(second)
        bench.start(third)
        bench.run()
        if leaves:
            rest = bench.chat(TEXTS[1], seed=2, emitted=tuple(second.generated))
            bench.start(rest)
            bench.run()
            second.generated += rest.generated
        assert [first.generated, second.generated, third.generated] == alone


def test_another_seed_says_something_else(bench: Bench) -> None:
    answers = {
        tuple(bench.answer("hello", seed=seed, temperature=1.0, top_p=1.0)) for seed in range(8)
    }
    assert len(answers) == 8


@pytest.mark.parametrize("settings", [GREEDY, {}], ids=["greedy", "defaults"])
@pytest.mark.parametrize("cut", [1, 13, 31])
def test_a_chat_cut_and_continued_says_the_same(
    bench: Bench, settings: dict[str, float], cut: int
) -> None:
    whole = bench.answer("tell me something", **settings)
    bench.forget()
    rest = bench.chat("tell me something", emitted=tuple(whole[:cut]), **settings)
    bench.start(rest)
    bench.run()
    assert rest.generated == whole[cut:]


def test_the_next_turn_reuses_the_last_and_says_the_same_as_without(bench: Bench) -> None:
    first = [Message(role="user", content="hello " * 40)]
    chat = bench.chat(first)
    bench.start(chat)
    bench.run()
    assert chat.cached_tokens == 0
    answered = Message(role="assistant", content="something else")
    turns = [*first, answered, Message(role="user", content="and now?")]
    warm = bench.chat(turns)
    bench.start(warm)
    bench.run()
    assert warm.cached_tokens >= len(chat.prompt_ids) - 1
    bench.forget()
    assert bench.answer(turns) == warm.generated


def test_the_same_prompt_twice_is_read_from_the_cache_but_for_one_token(bench: Bench) -> None:
    cold = bench.answer("hello there")
    chat = bench.chat("hello there")
    bench.start(chat)
    bench.run()
    assert chat.cached_tokens == len(chat.prompt_ids) - 1
    assert chat.generated == cold


@pytest.mark.parametrize("when", ["prefill", "decode"])
def test_a_removed_chat_leaves_its_work_and_its_neighbours_alone(bench: Bench, when: str) -> None:
    expected = bench.answer("neighbour", seed=5)
    bench.forget()
    neighbour, stopped = bench.chat("neighbour", seed=5), bench.chat("word " * 300)
    bench.start(neighbour)
    bench.run(until=lambda: len(neighbour.generated) >= 3)
    bench.start(stopped)
    if when == "decode":
        bench.run(until=lambda: len(stopped.generated) >= 3)
    else:
        since = len(neighbour.generated)
        bench.run(until=lambda: len(neighbour.generated) >= since + 2)
        assert not stopped.generated
    bench.backend.remove(stopped)
    bench.run()
    assert neighbour.generated == expected
    again = bench.chat("word " * 300)
    bench.start(again)
    bench.run()
    assert again.cached_tokens > 0
    bench.forget()
    assert bench.answer("word " * 300) == again.generated


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_chats_say_the_same_alone_in_turns_cut_and_reused(
    bench_of: Any, bits: int
) -> None:
    bench = bench_of(kv=bits)
    alone = [bench.answer(text, seed=i) for i, text in enumerate(TEXTS[:5])]
    warm = [bench.answer(text, seed=i) for i, text in enumerate(TEXTS[:5])]
    bench.forget()
    chats = [bench.chat(text, seed=i) for i, text in enumerate(TEXTS[:5])]
    bench.start(*chats)
    bench.run()
    rest = bench.chat(TEXTS[0], seed=0, emitted=tuple(alone[0][:9]))
    bench.start(rest)
    bench.run()
    assert warm == alone
    assert [chat.generated for chat in chats] == alone
    assert rest.generated == alone[0][9:]


def test_a_quantised_cache_is_really_smaller(bench_of: Any) -> None:
    sizes = {}
    for bits in (None, 8, 4):
        bench = bench_of(kv=bits)
        bench.answer("word " * 100)
        sizes[bits] = bench.cache.nbytes
    assert sizes[4] < sizes[8] < sizes[None]


def test_the_first_token_of_a_prompt_of_one_token_is_sampled_like_any_other(bench: Bench) -> None:
    """A prompt of one token has no prefill; its penalty window holds that token alone."""
    chat = bench.chat("x", repetition_penalty=1.5)
    bench.backend.prepare(chat)
    chat.prompt_ids = chat.prompt_ids[:1]
    bench.backend.add(chat)
    bench.run()
    assert len(chat.generated) == 32


def test_weights_are_counted_in_bytes(bench: Bench) -> None:
    assert bench.backend.weight_bytes == bench.record.size - _header(bench.record.path)
    assert mx.get_active_memory() >= bench.backend.weight_bytes


def _header(path: str) -> int:
    """Bytes of a safetensors file before its arrays: a length of 8 bytes, and that many of JSON."""
    from pathlib import Path

    with (Path(path) / "model.safetensors").open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")
