"""Chunks of prompts that are read a layer at a time, as those that take long are: other rows get
their tokens in between, and nothing is said differently."""

from __future__ import annotations

import pytest

from tests.mlx.conftest import Bench
from worker.backends.batching.chunk import FEWEST
from worker.sequence import Sequence

LONG = "a long question that goes on and on, in several chunks, before it comes to its point; " * 2
SHORT = "and a short one, which comes along"
GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}


@pytest.fixture
def _layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.backends.batching.prefill.PIECE_S", 0.0)


def chats(bench: Bench, *texts: str, tokens: int = 12) -> list[Sequence]:
    return [bench.chat(text, **GREEDY, max_tokens=tokens) for text in texts]


def said(bench: Bench, *texts: str) -> list[list[int]]:
    answers = []
    for text in texts:
        answers.append(bench.answer(text, **GREEDY, max_tokens=12))
        bench.forget()
    return answers


def begin_chunk(bench: Bench) -> None:
    """Step until a chunk is half computed."""
    while bench.backend._prefill._chunk is None:  # type: ignore[attr-defined]
        bench.run(until=iter([False, True]).__next__)


def test_rows_get_their_tokens_between_the_layers(
    bench: Bench, request: pytest.FixtureRequest
) -> None:
    running, expected = said(bench, SHORT, LONG)
    request.getfixturevalue("_layer_by_layer")
    [first], [second] = chats(bench, SHORT, tokens=200), chats(bench, LONG)
    bench.start(first)
    bench.run(until=lambda: bool(first.generated))
    before = len(first.generated)
    bench.start(second)
    bench.run(until=lambda: bool(second.generated))
    chunks = -(-len(second.prompt_ids) // 32)
    assert len(first.generated) - before > chunks + 1
    bench.run()
    assert (first.generated[:12], second.generated) == (running, expected)


def test_a_model_that_reads_slowly_reads_fewer_tokens_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = (LONG, "another " + LONG)
    expected = said(bench, *texts)
    monkeypatch.setattr("worker.backends.batching.chunk.LONGEST_S", 0.0)
    bench.backend._prefill._pace.most = FEWEST  # type: ignore[attr-defined]
    both = chats(bench, *texts)
    bench.start(*both)
    read = [0, 0]
    while not all(chat.generated for chat in both):
        bench.run(until=iter([False, True]).__next__)
        rows = bench.backend._prefill.rows  # type: ignore[attr-defined]
        now = [next((r.read for r in rows if r.sequence is chat), 0) for chat in both]
        assert sum(max(0, b - a) for a, b in zip(read, now, strict=True)) <= FEWEST
        read = now
    bench.run()
    assert [chat.generated for chat in both] == expected


def test_prompts_that_are_read_together_say_what_they_say_alone(
    bench: Bench, request: pytest.FixtureRequest
) -> None:
    texts = (LONG, SHORT, LONG + SHORT)
    expected = said(bench, *texts)
    request.getfixturevalue("_layer_by_layer")
    together = chats(bench, *texts)
    bench.start(*together)
    bench.run()
    assert [chat.generated for chat in together] == expected


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_chat_that_is_stopped_in_the_middle_of_a_chunk_leaves_what_was_read_of_it(
    bench: Bench, request: pytest.FixtureRequest, stopped: int
) -> None:
    texts = (LONG, "another " + LONG)
    expected = said(bench, *texts)
    request.getfixturevalue("_layer_by_layer")
    both = chats(bench, *texts)
    bench.start(*both)
    begin_chunk(bench)
    bench.backend.remove(both[stopped])
    bench.run()
    assert both[1 - stopped].generated == expected[1 - stopped]
    assert both[stopped].generated == []
    [again] = chats(bench, texts[stopped])
    bench.start(again)
    bench.run()
    assert again.generated == expected[stopped]


@pytest.mark.usefixtures("_layer_by_layer")
def test_the_last_one_of_a_chunk_can_be_stopped(bench: Bench) -> None:
    [chat] = chats(bench, LONG)
    bench.start(chat)
    begin_chunk(bench)
    bench.backend.remove(chat)
    assert bench.backend.sequences() == []
    [again] = chats(bench, LONG)
    bench.start(again)
    bench.run()
    assert len(again.generated) == 12
    assert again.cached_tokens > 0
