"""Where answers end: end-of-text tokens, min_tokens, stop_token_ids; and beside a schema."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.mlx.conftest import Bench
from tests.mlx.sampling.schema_chats import check_person, constrained, texts_of
from tests.support.schema_support import settled
from wire.messages import Delta, Finished, OutputFormat
from worker.backends.loading import configured_ends
from worker.backends.sampling.logits_processors import LogitsProcessor
from worker.backends.sampling.special_tokens import SpecialTokens, ends_of
from worker.models.folders import describe
from worker.sequence import Sequence

END = 2
"""The random model's end-of-text token, <|im_end|>."""
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0}
ENDS_AT_ONCE = GREEDY | {"logit_bias": ((END, 1000.0),)}


def ended(bench: Bench, chat: Sequence) -> tuple[list[int], str, Finished]:
    """The tokens, the text and the end of a chat, as the engine would write them."""
    bench.start(chat)
    text = ""
    while bench.backend.sequences():
        for token in bench.backend.step().tokens:
            if token.end == "stop":
                chat.accept_last(token.token_id)
                events = chat.finish("stop")
            else:
                events = chat.accept(token.token_id)
                if chat.stopped_by_text:
                    bench.backend.remove(chat)
                    events += chat.finish("stop")
                elif token.end == "length":
                    events += chat.finish("length")
            text += "".join(event.text for event in events if isinstance(event, Delta))
    assert isinstance(chat.end, Finished)
    return chat.generated, text, chat.end


def test_an_end_of_text_token_ends_an_answer(bench: Bench) -> None:
    tokens, text, end = ended(bench, bench.chat("hello", **ENDS_AT_ONCE))
    assert (tokens, text, end.finish_reason, end.stop_reason) == ([END], "", "stop", None)


def test_ignore_eos_goes_on_to_the_limit_and_shows_no_marks(bench: Bench) -> None:
    chat = bench.chat("hello", **ENDS_AT_ONCE, ignore_eos=True, max_tokens=12)
    tokens, text, end = ended(bench, chat)
    assert (tokens, text, end.finish_reason) == ([END] * 12, "", "length")
    chat = bench.chat("hello", **ENDS_AT_ONCE, ignore_eos=True, stop=("x",), max_tokens=12)
    assert ended(bench, chat)[1] == ""


def test_min_tokens_come_before_any_end(bench: Bench) -> None:
    chat = bench.chat("hello", **ENDS_AT_ONCE, min_tokens=7)
    tokens, _, end = ended(bench, chat)
    assert (len(tokens), tokens.index(END), end.finish_reason) == (8, 7, "stop")
    plain = bench.answer("hello", **GREEDY, max_tokens=7)
    assert tokens[:7] == plain
    both = bench.chat("hello", **ENDS_AT_ONCE, min_tokens=7, ignore_eos=True, max_tokens=10)
    assert ended(bench, both)[0] == [*plain, END, END, END]


def test_a_stop_token_ends_the_answer_with_its_id(bench: Bench) -> None:
    plain = bench.answer("hello", **GREEDY)
    stop = next(token for i, token in enumerate(plain) if i > 4 and token not in plain[:i])
    at = plain.index(stop)
    whole = bench.chat("hello", **GREEDY, max_tokens=at)
    _, before, _ = ended(bench, whole)
    tokens, text, end = ended(bench, bench.chat("hello", **GREEDY, stop_token_ids=(stop,)))
    assert (tokens, end.finish_reason, end.stop_reason) == (plain[: at + 1], "stop", stop)
    assert text == before
    assert end.usage.completion_tokens == at + 1
    ignored = bench.chat("hello", **GREEDY, stop_token_ids=(stop,), ignore_eos=True)
    assert ended(bench, ignored)[0] == tokens


def test_a_stop_token_cannot_come_before_min_tokens(bench: Bench) -> None:
    plain = bench.answer("hello", **GREEDY)
    stop = plain[2]
    chat = bench.chat("hello", **GREEDY, stop_token_ids=(stop,), min_tokens=32)
    tokens, _, end = ended(bench, chat)
    assert tokens[:2] == plain[:2]
    assert stop not in tokens
    assert (len(tokens), end.finish_reason, end.stop_reason) == (32, "length", None)


def test_a_requested_end_of_text_token_is_named(bench: Bench) -> None:
    for ignored in (False, True):
        chat = bench.chat("hello", **ENDS_AT_ONCE, stop_token_ids=(END,), ignore_eos=ignored)
        tokens, _, end = ended(bench, chat)
        assert (tokens, end.finish_reason, end.stop_reason) == ([END], "stop", END)


def test_a_stop_text_counts_after_min_tokens(bench: Bench) -> None:
    *_, first = ended(bench, bench.chat("hello", **GREEDY, stop=("e",)))
    assert first.stop_reason == "e"
    early = first.usage.completion_tokens
    whole, text, _ = ended(bench, bench.chat("hello", **GREEDY, max_tokens=60))
    chat = bench.chat("hello", **GREEDY, max_tokens=60, stop=("e",), min_tokens=early + 3)
    tokens, shown, end = ended(bench, chat)
    assert len(tokens) > early + 3
    assert tokens == whole[: len(tokens)]
    assert text.startswith(shown)
    assert "e" in shown
    assert end.stop_reason == "e"
    rest = bench.chat(
        "hello",
        emitted=tuple(tokens[: early + 1]),
        **GREEDY,
        max_tokens=60,
        stop=("e",),
        min_tokens=early + 3,
    )
    assert ended(bench, rest)[0] == tokens[early + 1 :]


# --- beside a schema ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"min_tokens": 190},
        {"ignore_eos": True},
        {"min_tokens": 190, "ignore_eos": True},
        {"logit_bias": tuple((token, -100.0) for token in range(1, 200))},
        {"top_k": 2, "min_p": 0.9, "temperature": 1.5},
        {"xtc_probability": 1.0, "xtc_threshold": 0.0, "temperature": 1.0},
    ],
)
def test_an_answer_held_to_a_schema_ends_with_the_schema(demo: Bench, more: dict[str, Any]) -> None:
    plain, chat = constrained(demo, "Hello!"), constrained(demo, "Hello!", **more)
    for text in texts_of(demo, plain, chat):
        check_person(text)
    assert chat.generated[-1] in configured_ends(Path(demo.record.path))
    assert len(chat.generated) < 190


def test_what_a_schema_leaves_is_never_held_back(demo: Bench) -> None:
    """A mask of nothing but ends stays as it is; of a wider one the ends are taken."""

    class Mask:
        allowed: tuple[int, ...] = ()

        def start(self, answer: list[int]) -> None: ...

        def fill_mask(self, mask: np.ndarray[Any, Any]) -> None:
            mask[:] = False
            mask[list(self.allowed)] = True

    chat, constraint = demo.chat("hello", min_tokens=5), Mask()
    processor = LogitsProcessor(Sequence(chat.job), constraint, [2, 7, 4000])  # type: ignore[arg-type]
    for allowed, expected in (((2, 7), (2, 7)), ((2, 3), (3,)), ((3,), (3,)), ((7,), (7,))):
        constraint.allowed = allowed
        bias = np.zeros(10, dtype=np.float32)
        processor.write_bias(bias)
        assert tuple(np.isfinite(bias).nonzero()[0].tolist()) == expected


def test_ends_are_the_models_unless_a_request_says_otherwise(bench: Bench) -> None:
    special = SpecialTokens(frozenset({2, 5}))

    def ends(*, constrained: bool = False, **given: Any) -> set[int]:
        return set(ends_of(bench.chat("", **given).job.sampling, special, constrained=constrained))

    assert ends() == {2, 5}
    assert ends(ignore_eos=True) == set()
    assert ends(ignore_eos=True, constrained=True) == {2, 5}
    assert ends(stop_token_ids=(9,)) == {2, 5, 9}
    assert ends(ignore_eos=True, stop_token_ids=(9, 2)) == {9, 2}


# --- the model's files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "generation", "ends"),
    [
        ('{"eos_token_id": 2}', '{"eos_token_id": [3, 4]}', {2, 3, 4}),
        ('{"eos_token_id": [2, 5]}', '{"eos_token_id": 7}', {2, 5, 7}),
        ('{"eos_token_id": null}', '{"eos_token_id": 0}', {0}),
        ('{"eos_token_id": -1}', '{"eos_token_id": [true, "2", 1.0, null, 6]}', {6}),
        ("{}", "not JSON", set()),
        ("[]", None, set()),
    ],
)
def test_ends_are_read_from_both_files(
    tmp_path: Path, config: str, generation: str | None, ends: set[int]
) -> None:
    (tmp_path / "config.json").write_text(config)
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(generation)
    assert configured_ends(tmp_path) == ends


def with_ends(bench: Bench, folder: Path, config: int, generation: list[int]) -> Bench:
    """The bench's model with other end-of-text tokens in its files."""
    shutil.copytree(bench.record.path, folder)
    found = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(found | {"eos_token_id": config}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
    record = describe(folder, name="ends")
    assert record is not None
    return Bench(record)


def test_an_end_that_the_model_does_not_have_harms_nothing(bench: Bench, tmp_path: Path) -> None:
    other = with_ends(bench, tmp_path / "model", END, [END, 1_000_000])
    form = OutputFormat(separate=True, json_schema=settled({"enum": ["red", "green"]}))
    for more in ({}, {"min_tokens": 3}, {"xtc_probability": 1.0, "xtc_threshold": 0.01}):
        asked = other.chat("Which?", temperature=1.0, **more)
        guided = Sequence(asked.job.model_copy(update={"form": form}))
        tokens, text, _ = ended(other, guided)
        assert (json.loads(text) in ("red", "green"), tokens[-1]) == (True, END)
        assert ended(other, asked)[0]


def test_every_end_of_text_token_of_the_files_ends_an_answer(bench: Bench, tmp_path: Path) -> None:
    other = with_ends(bench, tmp_path / "model", 301, [300, 299])
    for token in (END, 299, 300, 301):
        forced = GREEDY | {"logit_bias": ((token, 1000.0),)}
        tokens, text, end = ended(other, other.chat("hello", **forced))
        assert (tokens, text, end.finish_reason) == ([token], "", "stop")
        held = ended(other, other.chat("hello", **forced, min_tokens=3))[0]
        assert (len(held), held[-1]) == (4, token)
