"""Gemma 3: windows of 512 tokens in five of six layers, and a vocabulary of 262,144 words.

It is the base model: what it says need not be an answer.
"""

from __future__ import annotations

import json

import mlx_lm
import pytest
from mlx_lm.utils import load_tokenizer

from tests.mlx.conftest import Bench
from tests.real.conftest import GEMMA3, folder_of, record_of
from tests.support.schema_support import settled
from wire.messages import Message, OutputFormat
from worker.sequence import Sequence

GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}
SENTENCE = "The cat sat on the mat, and the {}. dog looked on from behind the old garden wall. "
LENGTH = 12


def story(sentences: int) -> str:
    return "".join(SENTENCE.format(number) for number in range(sentences)) + "Then"


SHORT, PAST_ONE_WINDOW, PAST_TWO = story(15), story(28), story(55)


@pytest.fixture(scope="module")
def gemma3() -> Bench:
    return Bench(record_of(GEMMA3), chunk=128)


@pytest.fixture(autouse=True)
def nothing_cached(gemma3: Bench) -> None:
    gemma3.forget()


def test_past_its_window_it_says_what_mlx_lm_says_alone_and_together(gemma3: Bench) -> None:
    model, tokenizer = mlx_lm.load(str(folder_of(GEMMA3)))
    expected = []
    for text, least in ((SHORT, 300), (PAST_ONE_WINDOW, 513), (PAST_TWO, 1025)):
        rows = [{"role": "user", "content": text}]
        prompt = tokenizer.apply_chat_template(rows, add_generation_prompt=True)
        assert len(prompt) >= least
        answer = mlx_lm.stream_generate(model, tokenizer, prompt, max_tokens=LENGTH)
        expected.append([response.token for response in answer])
    del model
    texts = (SHORT, PAST_ONE_WINDOW, PAST_TWO)
    chats = [gemma3.chat(text, max_tokens=LENGTH, **GREEDY) for text in texts]
    gemma3.start(*chats)
    gemma3.run()
    assert [chat.generated for chat in chats] == expected
    # Read again alone, from what is in the prompt cache.
    assert [gemma3.answer(text, max_tokens=LENGTH, **GREEDY) for text in texts] == expected


def test_a_second_turn_past_the_window_says_the_same_warm_and_cold(gemma3: Bench) -> None:
    first = [Message(role="user", content=PAST_ONE_WINDOW)]
    gemma3.answer(first, max_tokens=LENGTH, **GREEDY)
    told = [
        *first,
        Message(role="assistant", content="the bird sang."),
        Message(role="user", content="And then?"),
    ]
    warm = gemma3.answer(told, max_tokens=LENGTH, **GREEDY)
    gemma3.forget()
    assert gemma3.answer(told, max_tokens=LENGTH, **GREEDY) == warm


def test_an_answer_keeps_a_schema(gemma3: Bench) -> None:
    schema = {
        "type": "object",
        "properties": {"word": {"enum": ["δώρο", "贈り物", "gift"]}, "count": {"type": "boolean"}},
        "required": ["word", "count"],
        "additionalProperties": False,
    }
    chat = gemma3.chat("A present?", max_tokens=40, **GREEDY)
    form = OutputFormat(separate=True, json_schema=settled(schema))
    held = Sequence(chat.job.model_copy(update={"form": form}))
    gemma3.start(held)
    gemma3.run()
    tokenizer = load_tokenizer(folder_of(GEMMA3))
    answer = json.loads(tokenizer.decode(held.generated, skip_special_tokens=True))
    assert list(answer) == ["word", "count"]
