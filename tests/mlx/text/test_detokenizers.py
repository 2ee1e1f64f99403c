"""Detokenising: every space is kept, and pieces give the same text as the whole, with every kind of
tokeniser."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlx_lm.tokenizer_utils import (
    BPEStreamingDetokenizer,
    NaiveStreamingDetokenizer,
    SPMStreamingDetokenizer,
)
from mlx_lm.utils import load_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from scripts.training.random_text_model import train_tokenizer
from tests.mlx.conftest import Bench
from wire.messages import ChatJob, Message, OutputFormat, Sampling
from worker.backends.text.decoder import Decoders
from worker.backends.text.detokenizer import detokenizers
from worker.text_decoder import Output

CODE = "    return a - b\n        if x:\n\tpass  # ä 漢字 🙂 e\u0301\n\n  end "
TEXTS = (CODE, " 4, 5, 6", "  two", "\n  line", "plain", " ", "🙂", " a , b . c 's", "a\0b")
STRIP = [
    decoders.Replace("▁", " "),
    decoders.ByteFallback(),
    decoders.Fuse(),
    decoders.Strip(" ", 1, 0),
]


def sentencepiece(decoder: Any) -> Any:
    """A tokeniser like those converted from SentencePiece: a space before every text, bytes for
    unknown characters."""
    pieces = {f"<0x{byte:02X}>": byte for byte in range(256)}
    for piece in (
        "<unk>",
        "</s>",
        "▁",
        "▁▁",
        "▁▁▁▁",
        "a",
        "b",
        "▁a",
        "-",
        "\n",
        ",",
        "4",
        "▁4",
        "return",
        "▁return",
    ):
        pieces.setdefault(piece, len(pieces))
    merges = [("▁", "▁"), ("▁▁", "▁▁"), ("▁", "a"), ("▁", "4"), ("▁", "return")]
    made = Tokenizer(
        models.BPE(pieces, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", unk_token="<unk>")


def metaspace() -> Any:
    """A tokeniser for which mlx_lm has no detokeniser of its own."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>", "</s>"], unk_token="<unk>"
    )
    made.train_from_iterator([*TEXTS, "the cat sat on the mat"] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", unk_token="<unk>")


KINDS: dict[str, tuple[Callable[[], Any], type]] = {
    "byte-level": (lambda: train_tokenizer(600, ("<|mark two|>",)), BPEStreamingDetokenizer),
    "sentencepiece": (lambda: sentencepiece(decoders.Sequence(STRIP)), SPMStreamingDetokenizer),
    "sentencepiece that keeps": (
        lambda: sentencepiece(decoders.Sequence(STRIP[:3])),
        SPMStreamingDetokenizer,
    ),
    "other": (
        lambda: sentencepiece(decoders.Sequence([*STRIP, decoders.Fuse()])),
        NaiveStreamingDetokenizer,
    ),
    "metaspace": (metaspace, NaiveStreamingDetokenizer),
}
HAVE_BYTES = sorted(KINDS.keys() - {"metaspace"})
"""The kinds that spell every character; the other has an unknown token in its place."""


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    make, kind = KINDS[request.param]
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    make().save_pretrained(folder)
    loaded = load_tokenizer(folder)
    assert type(loaded.detokenizer) is kind
    return loaded


def streamed(tokenizer: Any, ids: Sequence[int], before: Sequence[int] | None = None) -> str:
    made = detokenizers(tokenizer)(before)
    pieces = [made.add(token) for token in ids]
    return "".join([*pieces, made.finish()])


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_make_the_text_of_the_whole(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert streamed(tokenizer, ids) == decoded(tokenizer, ids)


def test_any_tokens_make_the_text_of_the_whole(tokenizer: Any) -> None:
    rng = random.Random(7)
    words = [
        i
        for i in range(len(tokenizer))
        if "\N{REPLACEMENT CHARACTER}" not in decoded(tokenizer, [i])
    ]
    for _ in range(50):
        ids = rng.choices(words, k=12)
        assert streamed(tokenizer, ids) == decoded(tokenizer, ids)


@pytest.mark.parametrize("rest", [" 4", "    return a", "a", "\n  4", "  "])
def test_a_text_that_is_continued_keeps_its_first_blank(tokenizer: Any, rest: str) -> None:
    whole = tokenizer.encode(f"a,{rest}", add_special_tokens=False)
    start = next(n for n in range(1, len(whole)) if decoded(tokenizer, whole[:n]).strip() == "a,")
    assert streamed(tokenizer, whole[start:], whole[:start]) == rest


def test_a_token_beyond_the_tokenisers_says_nothing(tokenizer: Any) -> None:
    ids = tokenizer.encode("a", add_special_tokens=False)
    assert streamed(tokenizer, [*ids, len(tokenizer) + 5]).strip() == "a"


def written(tokenizer: Any, ids: Sequence[int], before: Sequence[int] | None = None) -> bytes:
    """The bytes of all tokens of an answer."""
    made, context = detokenizers(tokenizer)(before), list(before or ())
    found = b""
    for token in ids:
        found += made.bytes_of(token, context)
        context.append(token)
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_tokens_are_those_of_the_text(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert written(tokenizer, ids) == decoded(tokenizer, ids).encode()
    for cut in range(1, len(ids)):
        rest = streamed(tokenizer, ids[cut:], ids[:cut])
        if "\N{REPLACEMENT CHARACTER}" not in decoded(tokenizer, ids[:cut]):
            assert written(tokenizer, ids[cut:], ids[:cut]) == rest.encode()


@pytest.mark.parametrize("tokenizer", HAVE_BYTES, indirect=True)
def test_a_token_inside_a_character_has_its_own_bytes(tokenizer: Any) -> None:
    ids = tokenizer.encode("\N{SLIGHTLY SMILING FACE}", add_special_tokens=False)
    made, character = detokenizers(tokenizer)(None), "\N{SLIGHTLY SMILING FACE}".encode()
    pieces = [made.bytes_of(token, ids[:at]) for at, token in enumerate(ids)]
    assert len(ids) > 1
    assert b"".join(pieces).strip() == character
    assert all(piece.strip() in character for piece in pieces)


@pytest.mark.parametrize("form", [{"raw": True}, {"continue_final": True}], ids=["raw", "goes on"])
@pytest.mark.parametrize("rest", [" 4", "    return a", "a", "  "])
def test_the_bytes_of_a_continued_text_begin_with_its_blank(
    tokenizer: Any, rest: str, form: dict[str, bool]
) -> None:
    whole = tokenizer.encode(f"a,{rest}", add_special_tokens=False)
    start = next(n for n in range(1, len(whole)) if decoded(tokenizer, whole[:n]).strip() == "a,")
    plain = job("a,")
    message = Message(role="assistant", content="a,")
    asked = plain.model_copy(update={"messages": (message,), "form": OutputFormat(**form)})
    decoder = Decoders(tokenizer).of(asked, whole[:start])
    answer = whole[start:]
    told = [decoder.token_bytes(token, answer[:at]) for at, token in enumerate(answer)]
    assert b"".join(told).decode() == rest


def job(text: str, *, raw: bool = False, stop: tuple[str, ...] = ()) -> ChatJob:
    return ChatJob(
        job_id="job",
        owner="everyone",
        model_id="model",
        model_revision="",
        messages=(Message(role="user", content=text),),
        sampling=Sampling(seed=1, stop=stop),
        form=OutputFormat(raw=raw),
        submitted_ms=0,
    )


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(600).save_pretrained(folder)
    return load_tokenizer(folder)


@pytest.mark.parametrize("raw", [True, False])
def test_an_indent_at_the_start_of_an_answer_survives(byte_level: Any, raw: bool) -> None:
    decoder = Decoders(byte_level).of(job("def f(a, b):\n", raw=raw), [1, 2, 3])
    ids = byte_level.encode("    return a - b", add_special_tokens=False)
    assert (
        Output.together([*(decoder.add(token) for token in ids), decoder.finish()]).text
        == "    return a - b"
    )


@pytest.mark.parametrize("raw", [True, False])
def test_a_stop_text_that_begins_with_a_blank_stops_at_the_start(
    byte_level: Any, raw: bool
) -> None:
    decoder = Decoders(byte_level).of(job("1, 2, 3,", raw=raw, stop=(" 4",)), [1, 2, 3])
    for token in byte_level.encode(" 4, 5", add_special_tokens=False):
        assert decoder.add(token) == Output()
    assert decoder.stopped


def test_an_answer_that_goes_on_after_a_crash_has_the_same_text(bench: Bench) -> None:
    chat = bench.chat("hello", temperature=1.0)
    texts = []
    bench.start(chat)
    while bench.backend.sequences():
        for token in bench.backend.step().tokens:
            if token.end != "stop":
                texts += [event.text for event in token.sequence.accept(token.token_id)]  # type: ignore[union-attr]
    whole = streamed(bench.tokenizer, chat.generated)
    assert "".join(texts) == whole[: len("".join(texts))]
    for cut in range(1, len(chat.generated)):
        before, after = chat.generated[:cut], chat.generated[cut:]
        rest = bench.chat("hello", emitted=tuple(before))
        bench.backend.prepare(rest)
        later = [event.text for token in after for event in rest.accept(token)]  # type: ignore[union-attr]
        assert "".join(texts).endswith("".join(later))
