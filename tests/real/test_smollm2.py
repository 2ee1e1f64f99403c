"""SmolLM2 in one process: the tokens of mlx_lm, whatever else is in the batch and whatever is
reused.

Prompts and answers are short: on the CPU a token of 4-bit weights takes an eighth of a second.
"""

from __future__ import annotations

from typing import Any

import mlx_lm
import pytest
from mlx_lm.sample_utils import make_logits_processors
from mlx_lm.utils import load_tokenizer

from tests.mlx.conftest import Bench
from tests.real.conftest import SMOLLM2, folder_of
from wire.messages import Message
from worker.sequence import Sequence

GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}
SYSTEM = Message(role="system", content="Be brief.")
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("What is the capital of France?", GREEDY),
    ("Name three animals, please.", GREEDY),
    ("Tell me a joke.", {"seed": 2}),
    ("Hi!", {"seed": 3, "temperature": 1.0, "top_p": 1.0}),
    ("12 + 30?", {"seed": 4}),
    ("Why is the sky blue?", {"seed": 5}),
    ("Red or blue?", {"seed": 6}),
    ("Days of the week?", {"seed": 7}),
]
LENGTH = 6


def messages(question: str) -> list[Message]:
    return [SYSTEM, Message(role="user", content=question)]


@pytest.fixture(autouse=True)
def nothing_cached(smollm2: Bench) -> None:
    smollm2.forget()


def library(question: str) -> list[int]:
    """mlx_lm's own tokens."""
    model, tokenizer = mlx_lm.load(str(folder_of(SMOLLM2)))
    rows = [{"role": m.role, "content": m.content} for m in messages(question)]
    prompt = tokenizer.apply_chat_template(rows, add_generation_prompt=True)
    return [r.token for r in mlx_lm.stream_generate(model, tokenizer, prompt, max_tokens=LENGTH)]


def test_among_eight_greedy_tokens_are_mlx_lms_and_seeds_say_what_they_say_alone(
    smollm2: Bench,
) -> None:
    expected = {n: library(ASKED[n][0]) for n in (0, 1)}
    for n in (2, 3):
        question, settings = ASKED[n]
        expected[n] = smollm2.answer(messages(question), max_tokens=LENGTH, **settings)
    smollm2.forget()
    chats = [smollm2.chat(messages(q), max_tokens=LENGTH, **settings) for q, settings in ASKED]
    smollm2.start(*chats[:5])
    smollm2.run(until=lambda: len(chats[0].generated) >= 3)
    smollm2.start(*chats[5:])
    smollm2.run()
    assert {n: chats[n].generated for n in expected} == expected
    assert all(chat.generated for chat in chats)


def test_six_turns_say_the_same_warm_and_cold(smollm2: Bench) -> None:
    asked = ["Hi!", "2+2?", "And 3+3?", "France?", "Why?", "Bye!"]
    tokenizer = load_tokenizer(folder_of(SMOLLM2))
    told = [SYSTEM]
    warm: list[Sequence] = []
    for question in asked:
        told = [*told, Message(role="user", content=question)]
        chat = smollm2.chat(told, max_tokens=3, **GREEDY)
        smollm2.start(chat)
        smollm2.run()
        read = len(warm[-1].prompt_ids) if warm else 0
        assert chat.cached_tokens >= read
        warm.append(chat)
        text = tokenizer.decode(chat.generated, skip_special_tokens=True)
        told = [*told, Message(role="assistant", content=text)]
    smollm2.forget()
    cold = smollm2.chat(list(warm[-1].job.messages), max_tokens=3, **GREEDY)
    smollm2.start(cold)
    smollm2.run()
    assert cold.cached_tokens == 0
    assert (cold.prompt_ids, cold.generated) == (warm[-1].prompt_ids, warm[-1].generated)


def test_with_a_quantised_cache_rows_of_unequal_length_say_what_they_say_alone(
    smollm2: Bench,
) -> None:
    """Products of 4-bit weights are the same to the bit for any number of rows. Where they are not,
    a quantised cache makes more of the difference: see docs/reliability.md."""
    bench = Bench(smollm2.record, kv=8, chunk=128)
    asked = [("Hi!", 1), ("Name an animal.", 2)]
    alone = [bench.answer(messages(text), seed=seed, max_tokens=6) for text, seed in asked]
    bench.forget()
    chats = [bench.chat(messages(text), seed=seed, max_tokens=6) for text, seed in asked]
    bench.start(*chats)
    bench.run()
    assert [chat.generated for chat in chats] == alone


def test_logits_processors_are_mlx_lms(smollm2: Bench) -> None:
    """Of the fields that decide with greedy draws; what filters keep is a question of logits."""
    model, tokenizer = mlx_lm.load(str(folder_of(SMOLLM2)))
    settings: list[dict[str, Any]] = [
        {
            "logit_bias": {28: 4.0, 30: -100.0},
            "repetition_penalty": 1.4,
            "repetition_context_size": 3,
        },
        {"repetition_penalty": 1.4, "repetition_context_size": 0, "logit_bias": {28: 6.0}},
    ]
    chats = []
    for given in settings:
        bias = tuple(given.get("logit_bias", {}).items())
        asked = {**GREEDY, **given, "logit_bias": bias, "max_tokens": LENGTH}
        chats.append(smollm2.chat(messages(ASKED[1][0]), **asked))
    smollm2.start(*chats)
    smollm2.run()
    for chat, given in zip(chats, settings, strict=True):
        expected = mlx_lm.stream_generate(
            model,
            tokenizer,
            chat.prompt_ids,
            max_tokens=LENGTH,
            logits_processors=make_logits_processors(**given),
        )
        assert chat.generated == [response.token for response in expected], given
