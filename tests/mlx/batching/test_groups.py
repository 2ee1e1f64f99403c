"""Several answers to one prompt: it is read once, however short, and each says what it says alone
with its seed."""

from __future__ import annotations

from typing import Any

import pytest

from api.chat.request import seed_of_choice
from tests.mlx.conftest import Bench
from wire.messages import Message, OutputFormat
from worker.errors import WorkerError
from worker.sequence import Sequence

QUESTION = "what is a queue, and who waits in it?"
DRAWN = {"temperature": 1.0, "top_p": 0.95, "repetition_penalty": 1.1, "max_tokens": 12}
SEED, CHOICES = 7, 8


def choice(bench: Bench, number: int, group: str | None, **more: Any) -> Sequence:
    chat = bench.chat(QUESTION, **DRAWN, seed=seed_of_choice(SEED, number))
    chat.job = chat.job.model_copy(update={"job_id": f"job {number}", "group": group, **more})
    return chat


def alone(bench: Bench, number: int) -> list[int]:
    chat = choice(bench, number, None)
    bench.start(chat)
    bench.run()
    bench.forget()
    return chat.generated


def tokens_read(bench: Bench, chats: list[Sequence]) -> int:
    """Tokens of the prompts that didn't come from a cache, by the backend's own count."""
    before = bench.cache.prompt_tokens, bench.cache.cached_tokens
    bench.start(*chats)
    bench.run()
    return bench.cache.prompt_tokens - before[0] - (bench.cache.cached_tokens - before[1])


def test_eight_answers_are_those_of_eight_requests_and_the_prompt_is_read_once(
    bench: Bench,
) -> None:
    right = [alone(bench, number) for number in range(CHOICES)]
    assert len(set(map(tuple, right))) > 1
    chats = [choice(bench, number, "job 0") for number in range(CHOICES)]
    read = tokens_read(bench, chats)
    length = len(chats[0].prompt_ids)
    assert 16 < length < 256  # Too short for chats that only begin alike to wait.
    # All but the first have only its last token left, which each feeds by itself.
    assert [chat.cached_tokens for chat in chats] == [0] + [length - 1] * (CHOICES - 1)
    assert read == length + CHOICES - 1
    assert [chat.generated for chat in chats] == right


def test_what_comes_later_takes_the_prompt_from_what_runs(bench: Bench) -> None:
    right = [alone(bench, number) for number in range(4)]
    chats = [choice(bench, number, "job 0") for number in range(4)]
    bench.start(chats[0])
    bench.run(until=lambda: len(chats[0].generated) >= 3)
    bench.start(*chats[1:3])
    bench.run(until=lambda: chats[0].tokens_left == 0)
    bench.start(chats[3])
    bench.run()
    last = len(chats[0].prompt_ids) - 1
    assert [chat.cached_tokens for chat in chats] == [0, last, last, last]
    assert [chat.generated for chat in chats] == right


def test_other_chats_with_the_same_short_prompt_do_not_wait(bench: Bench) -> None:
    chats = [choice(bench, number, None) for number in range(3)]
    read = tokens_read(bench, chats)
    # Rows that can't be padded are read one after another, and may find what was read.
    assert read > 2 * len(chats[0].prompt_ids)


def test_one_that_is_stopped_while_it_reads_leaves_the_others_their_answers(bench: Bench) -> None:
    right = [alone(bench, number) for number in range(3)]
    chats = [choice(bench, number, "job 0") for number in range(3)]
    bench.start(*chats)
    bench.backend.step()
    bench.backend.remove(chats[0])
    bench.run()
    assert [chat.generated for chat in chats[1:]] == right[1:]


def raw(bench: Bench, text: str, ids: tuple[int, ...] = ()) -> Sequence:
    form = OutputFormat(raw=True, truncation="disabled", prompt_ids=ids)
    chat = bench.chat([Message(role="user", content=text)], **DRAWN)
    chat.job = chat.job.model_copy(update={"form": form})
    return chat


def test_a_prompt_of_token_ids_is_continued_as_its_text_is(bench: Bench) -> None:
    text = raw(bench, QUESTION)
    bench.start(text)
    bench.run()
    ids = raw(bench, "", tuple(text.prompt_ids))
    bench.start(ids)
    bench.run()
    assert (ids.prompt_ids, ids.generated) == (text.prompt_ids, text.generated)
    one = raw(bench, "", (text.prompt_ids[-1],))
    bench.start(one)
    bench.run()
    assert (one.prompt_ids, len(one.generated) > 0) == ([text.prompt_ids[-1]], True)


def test_ids_that_the_model_does_not_have_and_too_many_are_refused(bench: Bench) -> None:
    for ids, code in (((1, 10**6), "bad_prompt"), ((1,) * 10**6, "prompt_too_long")):
        with pytest.raises(WorkerError) as refused:
            bench.backend.prepare(raw(bench, "", ids))
        assert refused.value.code == code
