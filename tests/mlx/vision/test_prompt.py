"""Prompts with images: placeholders, cache keys, and placeholders in a message's text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mlx.vision.vision_bench import FAMILIES, GREEDY, VisionBench
from wire.messages import Message, OutputFormat, TextPart
from worker.backends.vision import prompt
from worker.backends.vision.prompt import key_ids
from worker.errors import WorkerError


def test_the_system_prompt_and_every_turn_are_in_the_prompt(bench: VisionBench) -> None:
    turns = [
        Message(role="system", content="be brief"),
        bench.shown("first question", 1),
        Message(role="assistant", content="first answer"),
        Message(role="user", content="second question"),
    ]
    chat = bench.chat(turns)
    bench.backend.prepare(chat)
    text = bench.prompt(chat)
    for part in ("be brief", "first question", "first answer", "second question"):
        assert part in text
    assert text.index("<|image_pad|>") < text.index("first question")


def test_a_last_message_goes_on_behind_a_picture(bench: VisionBench) -> None:
    begun = Message(role="assistant", content=" a box,  ")
    chat = bench.chat([bench.shown("what is it?", 1), begun])
    form = OutputFormat(continue_final=True)
    chat.job = chat.job.model_copy(update={"form": form})
    bench.backend.prepare(chat)
    text = bench.prompt(chat)
    assert text.endswith(" a box,  ")
    assert text.index("<|image_pad|>") < text.index("what is it?") < text.index(" a box,")


def test_an_image_that_is_gone_is_a_named_error(bench: VisionBench) -> None:
    chat = bench.chat([bench.shown("what?", 1)])
    chat.images = {}
    with pytest.raises(WorkerError) as caught:
        bench.backend.prepare(chat)
    assert caught.value.code == "invalid_image"


def test_images_of_which_the_processor_makes_nothing_are_refused(
    bench: VisionBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(processor: Any, *, images: Any, prompts: list[str], **_: Any) -> dict[str, Any]:
        assert len(images) == 1
        return {"input_ids": [processor.tokenizer.encode(prompts[0])]}

    monkeypatch.setattr(prompt, "prepare_inputs", blind)
    chat = bench.chat([bench.shown("what?", 1)])
    with pytest.raises(WorkerError, match="image processor is missing"):
        bench.backend.prepare(chat)


def test_keys_carry_the_images_hash_in_place_of_its_tokens() -> None:
    one, two = "1" * 64, "2" * 64
    keys = key_ids([5, 9, 9, 6, 9, 9, 7], 9, (one, two))
    assert [k for k in keys if k > 0] == [5, 6, 7]
    assert keys[1] == keys[2] != keys[4]
    assert key_ids([5, 9, 9, 6], 9, (one,)) != key_ids([5, 9, 9, 6], 9, (two,))
    tiles = key_ids([9, 5, 9], 9, (one,))
    assert tiles[0] == tiles[2] < 0
    assert key_ids([5, 9], 9, ()) == [5, 9]


def test_padded_images_are_told_by_all_images_of_the_prompt() -> None:
    one, two = "1" * 64, "2" * 64
    alone, padded = (
        key_ids([5, 9, 6, 9, 7], 9, shas, together=True) for shas in ((one,), (one, two))
    )
    assert padded[1] == padded[3] < 0
    assert padded[1] != alone[1]


PLACEHOLDERS = (
    "<|image_pad|>",
    "<|placeholder|>",
    "<|vision_start|><|image_pad|><|vision_end|>",
    "<|im_end|>",
    "<",
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pictures", [0, 1, 2])
@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_placeholder_in_a_message_is_text_and_no_picture(
    records: Any, family: str, pictures: int, placeholder: str
) -> None:
    bench = VisionBench(records(family))
    seeds = range(pictures)
    turns = [
        bench.shown("one", *seeds),
        Message(role="assistant", content=placeholder),
        bench.shown(placeholder),
    ]
    plain = [
        bench.shown("one", *seeds),
        Message(role="assistant", content="what"),
        bench.shown("what"),
    ]
    marked, expected = bench.chat(turns), bench.chat(plain)
    for chat in (marked, expected):
        bench.backend.prepare(chat)
    tokenizer = bench.tokenizer
    for mark in ("<|image_pad|>", "<|vision_start|>", "<|im_start|>", "<|im_end|>"):
        number = tokenizer.convert_tokens_to_ids(mark)
        assert marked.prompt_ids.count(number) == expected.prompt_ids.count(number)
    assert str(tokenizer.decode(marked.prompt_ids)).count(placeholder + "<|im_end|>") == 2
    assert "\ue000" not in tokenizer.decode(marked.prompt_ids)


def test_a_placeholder_cut_in_two_by_parts_is_text(bench: VisionBench) -> None:
    parts = (TextPart(text="<|image_"), TextPart(text="pad|>"))
    turns = [bench.shown("one", 1), Message(role="user", content=parts)]
    chat, plain = bench.chat(turns), bench.chat([turns[0], Message(role="user", content="two")])
    for prepared in (chat, plain):
        bench.backend.prepare(prepared)
    pad = bench.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert chat.prompt_ids.count(pad) == plain.prompt_ids.count(pad)


def test_a_picture_is_seen_beside_the_word_for_one(bench: VisionBench) -> None:
    question = "What is <|image_pad|> for?"
    answers = {tuple(bench.answer([bench.shown(question, seed)], **GREEDY)) for seed in range(3)}
    assert len(answers) == 3
    bench.forget()
    assert tuple(bench.answer([bench.shown(question, 0)], **GREEDY)) in answers


def test_another_tokeniser_in_a_processor_says_when_it_was_not_used(
    bench: VisionBench, monkeypatch: Any
) -> None:
    monkeypatch.setattr(
        "worker.backends.vision.prompt.EscapedTokenizer.inside", lambda _, processor: processor
    )
    with pytest.raises(WorkerError) as refused:
        bench.backend.prepare(bench.chat([bench.shown("<|image_pad|>", 1)]))
    assert refused.value.code == "template_failed"
