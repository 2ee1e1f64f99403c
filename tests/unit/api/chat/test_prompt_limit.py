"""A prompt that can't fit is refused before there is a job, and quickly."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from api.chat.prompt_limit import PromptLimit, beyond, unshortened
from api.errors import ApiError
from wire.messages import PLAIN_TEXT, Message, OutputFormat
from wire.model_registry import ModelRecord


@pytest.fixture
def model(tmp_path: Path) -> ModelRecord:
    """Every word of a text is one token."""
    words = Tokenizer(models.WordLevel({"word": 0, "?": 1}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    return ModelRecord(
        id="m",
        name="m",
        path=str(tmp_path),
        size=1,
        architecture="qwen3",
        context_window=100,
        is_vision=False,
        revision=str(tmp_path),
    )


def run(model: ModelRecord, *messages: Message, form: OutputFormat = PLAIN_TEXT) -> None:
    import asyncio

    asyncio.run(PromptLimit().check(model, messages, form))


def test_what_is_never_left_out_is_counted(model: ModelRecord) -> None:
    run(model, Message(role="user", content="word " * 100))
    with pytest.raises(ApiError) as caught:
        run(model, Message(role="user", content="word " * 101))
    assert caught.value.code == "prompt_too_long"
    assert caught.value.message == (
        "The prompt is too long: it has at least 101 tokens with the oldest turns left out, and this model takes 100 in "
        "all: at least 1 too many."
    )
    with pytest.raises(ApiError):
        run(
            model,
            Message(role="system", content="word " * 60),
            Message(role="user", content="word " * 60),
        )


def test_turns_that_may_be_dropped_are_not_counted(model: ModelRecord) -> None:
    old = Message(role="user", content="word " * 500)
    answer = Message(role="assistant", content="word " * 500)
    run(model, old, answer, Message(role="user", content="word"))
    assert [m.role for m in unshortened([old, answer, Message(role="user", content="x")])] == [
        "user"
    ]


def test_every_turn_counts_in_a_conversation_that_is_not_shortened(model: ModelRecord) -> None:
    turns = [
        Message(role="user", content="word " * 40),
        Message(role="assistant", content="word " * 40),
    ]
    run(
        model,
        *turns,
        Message(role="user", content="word " * 20),
        form=OutputFormat(truncation="disabled"),
    )
    with pytest.raises(ApiError) as caught:
        run(
            model,
            *turns,
            Message(role="user", content="word " * 21),
            form=OutputFormat(truncation="disabled"),
        )
    assert (caught.value.code, caught.value.param) == ("prompt_too_long", "messages")
    assert caught.value.message == (
        "This model's maximum context length is 100 tokens. However, your messages resulted in at least 101 tokens. "
        "Please reduce the length of the messages. The prompt is at least 2 tokens too long: 99 fit beside the answer."
    )


def test_a_model_whose_tokeniser_is_elsewhere_or_broken_is_left_to_the_worker(
    tmp_path: Path,
) -> None:
    assert not beyond(str(tmp_path / "nowhere"), "1", ["word " * 10_000], 5)
    (tmp_path / "tokenizer.json").write_text("{")
    assert not beyond(str(tmp_path), "2", ["word " * 10_000], 5)


def test_a_million_characters_are_not_read_to_the_end(
    model: ModelRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    class Counting:
        def encode(self, text: str, *, add_special_tokens: bool) -> object:
            assert not add_special_tokens
            read.append(len(text))
            return type("Encoded", (), {"ids": [0] * len(text)})

    monkeypatch.setattr("api.chat.prompt_limit._tokeniser", lambda *_: Counting())
    assert beyond(model.path, model.revision, ["x" * 1_000_000], 20_000)
    assert sum(read) < 50_000


def ids(*tokens: int) -> OutputFormat:
    return OutputFormat(raw=True, truncation="disabled", prompt_ids=tokens)


def test_token_ids_are_counted_exactly_and_looked_up(model: ModelRecord) -> None:
    empty = Message(role="user", content="")
    run(model, empty, form=ids(*[0, 1] * 49, 1))
    with pytest.raises(ApiError) as long:
        run(model, empty, form=ids(*[0] * 100))
    assert (long.value.code, "resulted in 100 tokens" in long.value.message) == (
        "prompt_too_long",
        True,
    )
    with pytest.raises(ApiError) as unknown:
        run(model, empty, form=ids(0, 2, 1))
    assert (unknown.value.code, unknown.value.param) == ("bad_prompt", "prompt")
    elsewhere = model.model_copy(update={"path": f"{model.path}/nowhere"})
    run(elsewhere, empty, form=ids(0, 2, 1))
