"""Vision models: parity with mlx_vlm alone and in mixed batches, reuse over turns, and answers
that depend on the image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import mlx_vlm
import pytest

from tests.mlx.vision.vision_bench import FAMILIES, GREEDY, VisionBench, picture
from wire.messages import Message
from worker.backends.batching import kv_cache
from worker.backends.batching.backend import BatchBackend
from worker.backends.vision import tower_pieces
from worker.models.folders import describe


def library(bench: VisionBench, text: str, seed: int) -> list[int]:
    """mlx_vlm's own tokens for one picture and a question."""
    model, processor = mlx_vlm.load(bench.record.path)
    rows = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    prompt = processor.tokenizer.apply_chat_template(
        rows, add_generation_prompt=True, tokenize=False
    )
    results = mlx_vlm.stream_generate(
        model, processor, prompt, image=[picture(seed)], max_tokens=32, temperature=0.0
    )
    *_, last = results
    return list(last.token_ids) if hasattr(last, "token_ids") else []


@pytest.mark.parametrize("cpu", [True, False], ids=["quick attention", "the library's attention"])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_equal_the_librarys_alone_and_in_a_mixed_batch(
    records: Any, family: str, cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tower_pieces, "on_cpu", lambda: cpu)
    bench = VisionBench(records(family))
    assert bench.record.is_vision
    expected = [library(bench, f"what is this, number {seed}?", seed) for seed in range(3)]
    assert min(len(tokens) for tokens in expected) >= 5
    alone = [
        bench.answer([bench.shown(f"what is this, number {seed}?", seed)], **GREEDY)
        for seed in range(3)
    ]
    assert [tokens[: len(e)] for tokens, e in zip(alone, expected, strict=True)] == expected
    bench.forget()
    chats = [
        bench.chat([bench.shown(f"what is this, number {seed}?", seed)], **GREEDY)
        for seed in range(3)
    ]
    texts = [bench.chat(f"only words {i}", seed=i) for i in range(3)]
    bench.start(chats[0], texts[0])
    bench.run(until=lambda: len(chats[0].generated) >= 4)
    bench.start(chats[1], texts[1], chats[2], texts[2])
    bench.run()
    assert [chat.generated for chat in chats] == alone
    bench.forget()
    assert [chat.generated for chat in texts] == [
        bench.answer(f"only words {i}", seed=i) for i in range(3)
    ]


def test_another_image_of_the_same_size_gets_another_answer(bench: VisionBench) -> None:
    answers = {
        tuple(bench.answer([bench.shown("what is this?", seed)], **GREEDY)) for seed in range(4)
    }
    assert len(answers) == 4
    again = bench.chat([bench.shown("what is this?", 0)], **GREEDY)
    bench.start(again)
    bench.run()
    assert again.cached_tokens == len(again.prompt_ids) - 1
    assert tuple(again.generated) in answers


@pytest.mark.parametrize("family", FAMILIES)
def test_the_next_turn_about_the_same_image_says_the_same_as_without_reuse(
    records: Any, family: str
) -> None:
    bench = VisionBench(records(family))
    first = [bench.shown("what is this?", 5)]
    bench.answer(first)
    turns = [*first, Message(role="assistant", content="a thing"), bench.shown("and this?", 6)]
    chat = bench.chat(turns)
    bench.start(chat)
    bench.run()
    assert chat.cached_tokens > 20
    bench.forget()
    assert bench.answer(turns) == chat.generated


def test_two_images_in_one_turn_differ_from_their_exchange(bench: VisionBench) -> None:
    there = bench.answer([bench.shown("compare", 1, 2)], **GREEDY)
    back = bench.answer([bench.shown("compare", 2, 1)], **GREEDY)
    assert there != back
    bench.forget()
    assert bench.answer([bench.shown("compare", 2, 1)], **GREEDY) == back


@pytest.mark.parametrize("when", ["before", "prefill", "decode"])
def test_a_stopped_turn_does_not_poison_the_next(bench: VisionBench, when: str) -> None:
    question = [bench.shown("what is this? " + "word " * 120, 3)]
    expected = bench.answer(question)
    bench.forget()
    stopped = bench.chat(question)
    bench.start(stopped)
    if when == "prefill":
        bench.backend.step()
        bench.backend.step()
        assert not stopped.generated
    elif when == "decode":
        bench.run(until=lambda: len(stopped.generated) >= 5)
    bench.backend.remove(stopped)
    assert bench.backend.sequences() == []
    assert bench.answer(question) == expected
    assert bench.answer([bench.shown("what is this? " + "word " * 120, 4)]) != expected


def test_a_chat_with_an_image_cut_and_continued_says_the_same(bench: VisionBench) -> None:
    question = [bench.shown("what is this?", 7)]
    whole = bench.answer(question)
    bench.forget()
    rest = bench.chat(question, emitted=tuple(whole[:11]))
    bench.start(rest)
    bench.run()
    assert rest.generated == whole[11:]


def test_a_model_that_takes_turns_says_the_same_as_one_that_batches(
    records: Any, monkeypatch: Any
) -> None:
    batch = VisionBench(records("qwen2_vl"))
    questions = [[batch.shown("what?", seed)] for seed in range(3)]
    expected = [batch.answer(question, seed=seed) for seed, question in enumerate(questions)]
    monkeypatch.setattr(kv_cache, "can_merge", lambda _: False)
    turns = VisionBench(records("qwen2_vl"))
    assert isinstance(turns.backend, BatchBackend)
    assert not turns.backend._abilities.batches
    turns.images = batch.images
    chats = [turns.chat(question, seed=seed) for seed, question in enumerate(questions)]
    turns.start(*chats)
    turns.run()
    assert [chat.generated for chat in chats] == expected
    again = turns.chat(questions[0], seed=0)
    turns.start(again)
    turns.run()
    assert again.cached_tokens == len(again.prompt_ids) - 1
    assert again.generated == expected[0]


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_caches_serve_images_in_a_batch(records: Any, bits: Literal[4, 8]) -> None:
    bench = VisionBench(records("qwen2_vl"), kv=bits)
    alone = [bench.answer([bench.shown("what?", seed)], seed=seed) for seed in range(3)]
    bench.forget()
    chats = [bench.chat([bench.shown("what?", seed)], seed=seed) for seed in range(3)]
    bench.start(*chats)
    bench.run()
    assert [chat.generated for chat in chats] == alone


def test_every_end_of_text_token_of_the_files_ends_an_answer(records: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(records("qwen2_vl").path, folder)
    (folder / "generation_config.json").write_text('{"eos_token_id": [300, 299]}')
    record = describe(folder, name="ends")
    assert record is not None
    own = json.loads((folder / "config.json").read_text())["eos_token_id"]
    bench = VisionBench(record)
    for token in (*own, 299, 300):
        forced = GREEDY | {"logit_bias": ((token, 1000.0),), "max_tokens": 5}
        assert bench.answer("hello", **forced) == [token]
        assert len(bench.answer("hello", **forced, min_tokens=3)) == 4
        assert bench.answer("hello", **forced, ignore_eos=True) == [token] * 5
