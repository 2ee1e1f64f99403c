"""Vision models: parity with mlx_vlm alone and in mixed batches, reuse over turns, and answers
that see the image."""

from __future__ import annotations

import hashlib
import io
import itertools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, Literal, cast

import mlx.core as mx
import mlx_vlm
import numpy as np
import pytest
from PIL import Image, ImageDraw

from scripts.training.random_vision_model import make
from tests.mlx.conftest import Bench
from wire.messages import ImagePart, Message, TextPart
from wire.model_registry import ModelRecord
from worker.backends.batching import kv_cache
from worker.backends.cpu.attention import quick_attention
from worker.backends.vision import encoder, tower_pieces
from worker.backends.vision.prompt import key_ids
from worker.backends.vlm import VlmBackend, VlmRoundRobin, open_model
from worker.errors import WorkerError
from worker.models.folders import describe, with_kv
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence

GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


class VisionBench(Bench):
    """A Bench for a vision model; its chats may show pictures."""

    def __init__(
        self, record: ModelRecord, kv: Literal[4, 8] | None = None, chunk: int = 32
    ) -> None:
        self.record = with_kv(record, kv)
        self.cache = PromptCache(1 << 28, kv_cache.trimmed)
        self.backend = open_model(self.record, prefill_step=chunk, cache=self.cache)
        self.images: dict[str, bytes] = {}

    def forget(self) -> None:
        self.cache.forget((self.record.id, self.record.revision, self.record.kv_quantization))

    def shown(self, text: str, *seeds: int) -> Message:
        """A user's message with pictures before its text."""
        parts: list[Any] = []
        for seed in seeds:
            name = hashlib.sha256(png(seed)).hexdigest()
            self.images[name] = png(seed)
            parts.append(ImagePart(sha256=name, width=112, height=84))
        return Message(role="user", content=(*parts, TextPart(text=text)))

    def chat(self, text: str | list[Message], **settings: Any) -> Sequence:
        chat = super().chat(text, **settings)
        chat.images = self.images
        return chat


def picture(seed: int) -> Image.Image:
    rng = random.Random(seed)
    image = Image.new("RGB", (112, 84), tuple(rng.randrange(256) for _ in range(3)))
    box = sorted(rng.randrange(112) for _ in range(2)), sorted(rng.randrange(84) for _ in range(2))
    ImageDraw.Draw(image).rectangle(
        [box[0][0], box[1][0], box[0][1], box[1][1]], fill=(seed * 40 % 256, 200, 10)
    )
    return image


def png(seed: int) -> bytes:
    kept = io.BytesIO()
    picture(seed).save(kept, "PNG")
    return kept.getvalue()


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelRecord]:
    made: dict[str, ModelRecord] = {}

    def record(family: str) -> ModelRecord:
        if family not in made:
            described = describe(make(tmp_path_factory.mktemp("vision") / family, family))  # type: ignore[arg-type]
            assert described is not None
            made[family] = described
        return made[family]

    return record


@pytest.fixture
def bench(records: Callable[[str], ModelRecord]) -> VisionBench:
    return VisionBench(records("qwen2_vl"))


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
    assert again.cached_tokens == len(again.prompt_ids) - 1
    bench.run()
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


def test_a_running_chat_gets_on_while_images_are_looked_at(bench: VisionBench) -> None:
    alone = bench.answer("only words", max_tokens=200)
    bench.forget()
    running = bench.chat("only words", max_tokens=200)
    bench.start(running)
    bench.run(until=lambda: len(running.generated) >= 3)
    joining = [
        bench.chat([bench.shown("what is this?", seed)], max_tokens=4) for seed in range(40, 43)
    ]
    bench.start(*joining)
    before = len(running.generated)
    bench.run(until=lambda: bool(joining[0].generated))
    assert len(running.generated) - before >= 5  # The tower has that many parts.
    bench.run()
    assert running.generated == alone
    assert all(len(chat.generated) == 4 for chat in joining)


class Held:
    """In place of the threads that wait for pieces: nobody says that one is done before
    ``release``."""

    def __init__(self) -> None:
        self._held: list[tuple[Future[float], Callable[[], float]]] = []

    def submit(self, waiting: Callable[[], float]) -> Future[float]:
        self._held.append((Future(), waiting))
        return self._held[-1][0]

    def release(self) -> int:
        """Wait for all that is under way; how many pieces that was."""
        held, self._held = self._held, []
        for done, waiting in held:
            done.set_result(waiting())
        return len(held)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held()
    monkeypatch.setattr(encoder, "_waiting", held)
    yield held
    held.release()  # Otherwise the lanes are taken for all that follow.


def test_nobody_in_company_waits_for_pictures(bench: VisionBench, held: Held) -> None:
    words = bench.chat("only words", max_tokens=200)
    bench.start(words)
    bench.run(until=lambda: bool(words.generated))
    bench.start(
        *(bench.chat([bench.shown("what is this?", seed)], max_tokens=4) for seed in range(50, 55))
    )
    before = len(words.generated)
    bench.run(until=lambda: len(words.generated) >= before + 20)
    assert held.release() == tower_pieces.STREAMS  # One piece of each, and the others aren't begun.
    bench.backend.remove(words)
    assert bench.backend.step(others_waiting=True).rest_s > 0
    while bench.backend.sequences():
        held.release()
        bench.backend.step(others_waiting=True)


def test_pictures_that_nobody_asks_for_any_more_keep_their_lane_until_their_piece_is_done(
    bench: VisionBench, held: Held
) -> None:
    left = [
        bench.chat([bench.shown("what is this?", seed)])
        for seed in range(60, 60 + tower_pieces.STREAMS)
    ]
    bench.start(*left)
    for _ in left:
        bench.backend.step(others_waiting=True)
    for chat in left:
        bench.backend.remove(chat)
    assert not any(stream.free for stream in encoder.streams())
    held.release()
    assert all(stream.free for stream in encoder.streams())


def test_two_towers_at_once_do_not_each_lengthen_the_other_ones_guess(
    bench: VisionBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(encoder, "time", SimpleNamespace(monotonic=lambda: next(clock) * 0.1))
    chats = [
        bench.chat([bench.shown("what is this?", seed)], max_tokens=4) for seed in range(80, 84)
    ]
    bench.start(*chats)
    bench.run()
    eyes = cast(VlmBackend, bench.backend)._encoder
    assert eyes is not None
    durations = eyes._cut.__self__._durations  # type: ignore[attr-defined]
    assert max(durations.values()) < next(clock) * 0.1


def test_pictures_are_seen_where_nobody_can_wait_for_a_stream(
    bench: VisionBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [bench.shown("what is this?", 70)]
    seen = bench.answer(turns)
    bench.forget()
    eyes = cast(VlmBackend, bench.backend)._encoder
    assert eyes is not None
    eyes.close()

    def refuse(stream: object) -> None:
        raise RuntimeError(f"{stream} is another thread's")

    monkeypatch.setattr(mx, "synchronize", refuse)
    assert bench.answer(turns) == seen


def rounding(found: mx.array, *inputs: mx.array) -> float:
    """How far attention is from the same in double precision."""
    q, k, v = (np.array(array).astype(np.float64) for array in inputs)
    scores = 0.25 * q @ k.swapaxes(-1, -2)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return float(np.abs(np.array(found) - weights / weights.sum(axis=-1, keepdims=True) @ v).max())


def test_attention_with_a_mask_or_over_nothing_stays_the_librarys() -> None:
    q = mx.random.normal((1, 2, 9, 16), key=mx.random.key(1))
    masked = mx.fast.scaled_dot_product_attention(q, q, q, scale=0.25, mask="causal")
    with quick_attention():
        assert mx.array_equal(
            mx.fast.scaled_dot_product_attention(q, q, q, scale=0.25, mask="causal"), masked
        )
        none = q[:, :, :0]
        assert (
            mx.fast.scaled_dot_product_attention(none, none, none, scale=0.25, mask=None).shape
            == none.shape
        )


@pytest.mark.parametrize("shape", [(1, 2, 37, 16), (1, 4, 400, 80)])
def test_attention_without_exponentials_is_the_librarys_but_for_rounding(
    shape: tuple[int, ...],
) -> None:
    library = mx.fast.scaled_dot_product_attention
    q, k, v = (mx.random.normal(shape, key=mx.random.key(i)) for i in range(3))
    for size in (1.0, 30.0):  # Flat weights, and such that one is nearly all.
        theirs = library(q * size, k, v, scale=0.25)
        with quick_attention():
            ours = mx.fast.scaled_dot_product_attention(q * size, k, v, scale=0.25, mask=None)
        assert rounding(ours, q * size, k, v) < 2 * rounding(theirs, q * size, k, v)
    assert mx.fast.scaled_dot_product_attention is library


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
    monkeypatch.setattr("worker.backends.vlm.KVCache", type(None))
    turns = VisionBench(records("qwen2_vl"))
    assert isinstance(turns.backend, VlmRoundRobin)
    turns.images = batch.images
    chats = [turns.chat(question, seed=seed) for seed, question in enumerate(questions)]
    turns.start(*chats)
    turns.run()
    assert [chat.generated for chat in chats] == expected
    again = turns.chat(questions[0], seed=0)
    turns.start(again)
    assert again.cached_tokens == len(again.prompt_ids) - 1
    turns.run()
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


def test_the_system_prompt_and_every_turn_are_in_the_prompt(bench: VisionBench) -> None:
    turns = [
        Message(role="system", content="be brief"),
        bench.shown("first question", 1),
        Message(role="assistant", content="first answer"),
        Message(role="user", content="second question"),
    ]
    chat = bench.chat(turns)
    bench.backend.prepare(chat)
    text = bench.backend._text.decode(chat.prompt_ids)  # type: ignore[attr-defined]
    for part in ("be brief", "first question", "first answer", "second question"):
        assert part in text
    assert text.index("<|image_pad|>") < text.index("first question")


def test_an_image_that_is_gone_is_a_named_error(bench: VisionBench) -> None:
    chat = bench.chat([bench.shown("what?", 1)])
    chat.images = {}
    with pytest.raises(WorkerError) as caught:
        bench.backend.prepare(chat)
    assert caught.value.code == "invalid_image"


def test_keys_carry_the_images_hash_in_place_of_its_tokens() -> None:
    one, two = "1" * 64, "2" * 64
    keys = key_ids([5, 9, 9, 6, 9, 9, 7], 9, (one, two))
    assert [k for k in keys if k > 0] == [5, 6, 7]
    assert keys[1] == keys[2] != keys[4]
    assert key_ids([5, 9, 9, 6], 9, (one,)) != key_ids([5, 9, 9, 6], 9, (two,))
    tiles = key_ids([9, 5, 9], 9, (one,))
    assert tiles[0] == tiles[2] < 0
    assert key_ids([5, 9], 9, ()) == [5, 9]


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
    tokenizer = bench.backend._text  # type: ignore[attr-defined]
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
    pad = bench.backend._text.convert_tokens_to_ids("<|image_pad|>")  # type: ignore[attr-defined]
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
