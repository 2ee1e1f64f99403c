"""SmolLM2 in one process: the tokens of mlx_lm, whatever else is in the batch and whatever is
reused.

Prompts and answers are short: on the CPU a token of 4-bit weights takes an eighth of a second.
"""

from __future__ import annotations

from typing import Any

import mlx_lm
import pytest
from mlx_lm.utils import load_tokenizer

from tests.mlx.conftest import Bench
from tests.real.conftest import SMOLLM2, folder_of
from wire.messages import Message

GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}
SYSTEM = Message(role="system", content="Be brief.")
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("What is the capital of France?", GREEDY),
    ("Name three animals, and say where each of them lives.", GREEDY),
    ("Tell me a joke.", {"seed": 2}),
    ("Hi!", {"seed": 3, "temperature": 1.0, "top_p": 1.0}),
    ("12 + 30?", {"seed": 4}),
    ("Why is the sky blue?", {"seed": 5}),
    ("Translate 'good morning' into Spanish.", {"seed": 6}),
    ("Days of the week?", {"seed": 7}),
]
LENGTH = 8


def messages(question: str) -> list[Message]:
    return [SYSTEM, Message(role="user", content=question)]


@pytest.fixture(autouse=True)
def nothing_cached(smollm2: Bench) -> None:
    forget(smollm2)


def forget(bench: Bench) -> None:
    record = bench.record
    bench.cache.forget((record.id, record.revision, record.kv_quantization))


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
    forget(smollm2)
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
    told, warm = [SYSTEM], []
    for question in asked:
        told = [*told, Message(role="user", content=question)]
        chat = smollm2.chat(told, max_tokens=4, **GREEDY)
        smollm2.start(chat)
        smollm2.run()
        read = len(warm[-1].prompt_ids) if warm else 0
        assert chat.cached_tokens >= read
        warm.append(chat)
        text = tokenizer.decode(chat.generated, skip_special_tokens=True)
        told = [*told, Message(role="assistant", content=text)]
    forget(smollm2)
    cold = smollm2.chat(list(warm[-1].job.messages), max_tokens=4, **GREEDY)
    smollm2.start(cold)
    smollm2.run()
    assert cold.cached_tokens == 0
    assert (cold.prompt_ids, cold.generated) == (warm[-1].prompt_ids, warm[-1].generated)
