"""Guessed tokens change no answer: the same ids with and without, whatever is drawn and however many
rows there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.mlx.conftest import Bench, bench_of_kind
from tests.mlx.sampling.schema_chats import constrained
from tests.model_kinds.kinds import make_folder
from wire.model_registry import ModelRecord
from worker.backends.batching.row_cuts import RowCuts
from worker.backends.drafting.draft_length import DraftLength
from worker.backends.drafting.ngram_proposer import NgramProposer
from worker.models.folders import describe
from worker.sequence import Sequence

MOST = 7
GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0}
SAMPLINGS: tuple[dict[str, Any], ...] = (
    GREEDY,
    {"top_p": 1.0, "repetition_penalty": 1.0},
    {},
    {"repetition_penalty": 1.3, "repetition_context_size": 5},
    {"min_p": 0.05, "top_k": 20, "temperature": 0.8},
    {"presence_penalty": 0.4, "frequency_penalty": 0.3},
    {"logit_bias": ((5, 3.0), (9, -4.0)), "min_tokens": 9},
    {"logprobs": 3, "stop_token_ids": tuple(range(0, 200, 40))},
)
TEXTS = [f"question {i}: " + "why? " * (i * 5 % 23) for i in range(32)]


class Always(DraftLength):
    """Drafts whenever there is something to guess."""

    def may_pay(self, rows: int) -> bool:  # noqa: ARG002
        return True

    def may_read(self, rows: int) -> bool:  # noqa: ARG002
        return True

    def choose(self, rows: int, drafts: Any) -> int:  # noqa: ARG002
        return self.most


class Mostly(Always):
    """Not in some steps in between: then one token by itself is fed to what was cut."""

    asked = 0

    def choose(self, rows: int, drafts: Any) -> int:
        self.asked += 1
        return super().choose(rows, drafts) if self.asked % 7 > 1 else 0


@pytest.fixture(scope="module", params=["plain-cache", "quantised-cache", "sliding-windows"])
def cache(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def kv(cache: str) -> Literal[8] | None:
    return 8 if cache == "quantised-cache" else None


@pytest.fixture(scope="module")
def model(cache: str, record: ModelRecord, tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    """With windows, a prompt with its answer is longer than these are, or becomes so."""
    if cache != "sliding-windows":
        return record
    windowed = describe(make_folder("gemma3_text", tmp_path_factory.mktemp("kinds") / "windows"))
    assert windowed is not None
    return windowed


@pytest.fixture(scope="module")
def plain(model: ModelRecord, kv: Literal[8] | None) -> Bench:
    return Bench(model, kv)


@pytest.fixture(scope="module")
def drafting(model: ModelRecord, kv: Literal[8] | None) -> Bench:
    """The same model, which guesses whenever it can."""
    bench = Bench(model, kv, num_draft_tokens=MOST)
    bench.backend._draft_length = Mostly(MOST)  # type: ignore[attr-defined]
    bench.backend.reset()
    return bench


def chats_of(bench: Bench, numbers: Items[int]) -> list[Sequence]:
    """Chats that are sampled in different ways, one of nine held to a schema."""
    kinds = len(SAMPLINGS) + 1
    return [
        constrained(bench, TEXTS[i], seed=i, max_tokens=60)
        if i % kinds == len(SAMPLINGS)
        else bench.chat(TEXTS[i], seed=i, max_tokens=30 + i % 7, **SAMPLINGS[i % kinds])
        for i in numbers
    ]


def run(bench: Bench, chats: list[Sequence]) -> Counter[str]:
    """Run chats to their ends; how many guessed tokens were fed, and how many were right."""
    bench.start(*chats)
    counts: Counter[str] = Counter()
    while bench.backend.sequences():
        step = bench.backend.step()
        counts.update(drafted=step.draft_tokens, accepted=step.accepted_tokens)
        for token in step.tokens:
            if token.end == "stop":
                token.sequence.accept_last(token.token_id, token.measured)
            else:
                token.sequence.accept(token.token_id, token.measured)
    return counts


@pytest.fixture
def known(
    plain: Bench, drafting: Bench, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Items[int]], list[Sequence]]]:
    """Answers without guesses. From then on guesses are taken from them, with some that are
    wrong: rows accept different lengths."""
    truth: dict[tuple[int, ...], list[int]] = {}

    def propose(self: NgramProposer, most: int) -> list[int]:
        tokens = list(self._tokens)
        prompt = next(p for p in truth if tuple(tokens[: len(p)]) == p)
        wholes = [*prompt, *truth[prompt]]
        length = len(tokens)
        return [
            token if (at * 7 + len(prompt)) % 5 else abs(token - 1)
            for at, token in enumerate(wholes[length : length + most], length)
        ]

    def answers(numbers: Items[int]) -> list[Sequence]:
        chats = chats_of(plain, numbers)
        run(plain, chats)
        truth.update((tuple(chat.prompt_ids), chat.generated) for chat in chats)
        monkeypatch.setattr(NgramProposer, "propose", propose)
        return chats

    yield answers
    drafting.forget()
    plain.forget()


@pytest.mark.parametrize("rows", [1, 9, 32])
def test_the_same_ids_with_and_without(
    drafting: Bench, known: Callable[[Items[int]], list[Sequence]], rows: int
) -> None:
    numbers = list(range(max(rows, 9)))
    expected = known(numbers)
    for start in range(0, len(numbers), rows):
        chats = chats_of(drafting, numbers[start : start + rows])
        counts = run(drafting, chats)
        assert counts["accepted"] > 3 * len(chats)
        assert counts["drafted"] > counts["accepted"]
        for chat, other in zip(chats, expected[start:], strict=False):
            assert chat.generated == other.generated, chat.job.sampling
            assert chat._told == other._told


def test_an_answer_that_was_cut_goes_on_the_same(
    drafting: Bench, known: Callable[[Items[int]], list[Sequence]]
) -> None:
    numbers = range(8)
    expected = known(numbers)
    cut = [
        drafting.chat(
            TEXTS[i],
            seed=i,
            max_tokens=chat.job.sampling.max_tokens,
            emitted=tuple(chat.generated[: 5 + i]),
            **SAMPLINGS[i],
        )
        for i, chat in zip(numbers, expected, strict=True)
    ]
    assert run(drafting, cut)["accepted"] > 3 * len(cut)
    for chat, whole in zip(cut, expected, strict=True):
        assert [*chat.emitted, *chat.generated] == whole.generated


def test_rows_that_leave_and_join_between_guesses_change_nothing(
    drafting: Bench, known: Callable[[Items[int]], list[Sequence]]
) -> None:
    numbers = range(16)
    expected = known(numbers)
    chats = chats_of(drafting, numbers)
    drafting.start(*chats[:8])
    drafting.run(until=lambda: len(chats[0].generated) > 9)
    drafting.backend.remove(chats[3])
    cut = list(chats[3].generated)
    run(drafting, chats[8:])
    for number, (chat, whole) in enumerate(zip(chats, expected, strict=True)):
        assert chat.generated == (cut if number == 3 else whole.generated)
    assert cut == expected[3].generated[: len(cut)]
    # What was computed for the row that left is reused.
    again = chats_of(drafting, [3])
    run(drafting, again)
    assert again[0].generated == expected[3].generated
    assert again[0].cached_tokens >= len(again[0].prompt_ids) - 1


def test_only_models_whose_rows_can_be_cut_apart_guess(
    record: ModelRecord, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert able(Bench(record, num_draft_tokens=MOST))
    assert not able(Bench(record)), "it isn't even tried"
    assert able(bench_of_kind("gemma3_text", tmp_path, num_draft_tokens=MOST))
    for kind in ("qwen3_next", "plamo3"):
        assert not able(bench_of_kind(kind, tmp_path, num_draft_tokens=MOST)), kind
    # As of a model that counts positions by itself.
    monkeypatch.setattr(RowCuts, "drop", lambda self, common, dropped: None)  # noqa: ARG005
    assert not able(Bench(record, num_draft_tokens=MOST))


def able(bench: Bench) -> bool:
    return bool(bench.backend._abilities.drafts)  # type: ignore[attr-defined]
