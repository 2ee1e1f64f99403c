"""Answers that a regular expression or a grammar constrains: chats and raw prompts, in a batch,
continued after a crash."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import pytest

from tests.mlx.conftest import Bench
from tests.mlx.sampling.schema_chats import texts_of
from wire.messages import Grammar, OutputFormat
from worker.errors import WorkerError
from worker.sequence import Sequence

PHONE = r"\d{3}-\d{4}"
SUM = 'start: NUMBER ("+" NUMBER){1,3}\nNUMBER: /[0-9]{1,2}/'


def guided(
    bench: Bench, kind: Literal["regex", "lark"], text: str, *, raw: bool = False, **more: Any
) -> Sequence:
    chat = bench.chat("Who are you?", **{"max_tokens": 100, "temperature": 1.0, **more})
    form = OutputFormat(separate=not raw, raw=raw, grammar=Grammar(kind=kind, text=text))
    return Sequence(chat.job.model_copy(update={"form": form}), emitted=chat.emitted)


def test_answers_match_and_end_by_themselves(demo: Bench) -> None:
    chats = [guided(demo, "regex", PHONE, seed=seed) for seed in range(4)]
    chats += [guided(demo, "lark", SUM, seed=seed) for seed in range(4)]
    chats += [guided(demo, "regex", PHONE, seed=9, raw=True)]
    texts = texts_of(demo, *chats)
    assert all(re.fullmatch(PHONE, text) for text in (*texts[:4], texts[8]))
    assert all(re.fullmatch(r"\d{1,2}(\+\d{1,2}){1,3}", text) for text in texts[4:8])
    assert [chat.end and chat.end.finish_reason for chat in chats] == ["stop"] * 9  # type: ignore[union-attr]


def test_neighbours_say_the_same(bench_of: Callable[..., Bench]) -> None:
    alone = bench_of(None).answer("neighbour", seed=5, temperature=0.8)
    bench = bench_of(None)
    neighbour = bench.chat("neighbour", seed=5, temperature=0.8)
    texts_of(bench, guided(bench, "regex", PHONE, seed=1), neighbour)
    assert neighbour.generated == alone


def test_an_answer_goes_on_in_the_middle(demo: Bench) -> None:
    whole = guided(demo, "lark", SUM, seed=3)
    texts_of(demo, whole)
    for cut in (0, 1, len(whole.generated) - 1):
        again = guided(demo, "lark", SUM, seed=3, emitted=tuple(whole.generated[:cut]))
        texts_of(demo, again)
        assert [*again.emitted, *again.generated] == whole.generated


@pytest.mark.parametrize(
    ("kind", "text"), [("regex", "("), ("lark", "start: <[3]>"), ("lark", "start: missing")]
)
def test_one_that_no_api_has_read_is_refused(
    demo: Bench, kind: Literal["regex", "lark"], text: str
) -> None:
    with pytest.raises(WorkerError, match="can't be held to its schema") as refused:
        demo.backend.prepare(guided(demo, kind, text))
    assert refused.value.code == "invalid_schema"
