"""Several answers about a picture: what was read of it is shared. And prompts of token ids."""

from __future__ import annotations

import pytest

from api.chat.request import seed_of_choice
from tests.mlx.vision.vision_bench import VisionBench
from wire.messages import Message, OutputFormat
from worker.errors import WorkerError
from worker.sequence import Sequence


def choice(bench: VisionBench, number: int, group: str | None) -> Sequence:
    question = bench.shown("what is this?", 3)
    chat = bench.chat([question], seed=seed_of_choice(5, number), temperature=1.0, max_tokens=8)
    chat.job = chat.job.model_copy(update={"job_id": f"job {number}", "group": group})
    return chat


def alone(bench: VisionBench, number: int) -> list[int]:
    chat = choice(bench, number, None)
    bench.start(chat)
    bench.run()
    bench.forget()
    return chat.generated


def test_answers_about_a_picture_read_it_once(bench: VisionBench) -> None:
    right = [alone(bench, number) for number in range(4)]
    chats = [choice(bench, number, "job 0") for number in range(4)]
    bench.start(*chats)
    bench.run()
    last = len(chats[0].prompt_ids) - 1
    assert [chat.cached_tokens for chat in chats] == [0, last, last, last]
    assert [chat.generated for chat in chats] == right


def raw(bench: VisionBench, text: str, *ids: int) -> Sequence:
    chat = bench.chat([Message(role="user", content=text)], max_tokens=8)
    form = OutputFormat(raw=True, truncation="disabled", prompt_ids=ids)
    chat.job = chat.job.model_copy(update={"form": form})
    return chat


def test_a_prompt_of_token_ids_is_continued_as_its_text_is(bench: VisionBench) -> None:
    text = raw(bench, "Once upon a time")
    bench.start(text)
    bench.run()
    ids = raw(bench, "", *text.prompt_ids)
    bench.start(ids)
    bench.run()
    assert (ids.prompt_ids, ids.generated) == (text.prompt_ids, text.generated)


def test_ids_beyond_the_vocabulary_and_those_of_images_are_refused(bench: VisionBench) -> None:
    pictured = choice(bench, 0, None)
    bench.backend.prepare(pictured)
    text = raw(bench, "what is this?")
    bench.backend.prepare(text)
    [mark] = {token for token in pictured.prompt_ids if pictured.prompt_ids.count(token) > 3}
    for ids in ((*text.prompt_ids, mark), (1, 10**6)):
        with pytest.raises(WorkerError) as refused:
            bench.backend.prepare(raw(bench, "", *ids))
        assert refused.value.code == "bad_prompt"
