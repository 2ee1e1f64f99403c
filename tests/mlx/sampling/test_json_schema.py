"""Answers that a schema constrains: with real models, in batches of both kinds, and continued after
a crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from mlx_lm.utils import load_tokenizer

from tests.mlx.conftest import Bench
from tests.mlx.sampling.schema_chats import check_person, constrained, texts_of
from tests.mlx.vision.vision_bench import VisionBench
from tests.support.schema_support import settled
from wire.messages import OutputFormat
from worker.backends.sampling import json_schema
from worker.backends.sampling.json_schema import Constraint, Grammars
from worker.backends.text import chat_template
from worker.backends.text.formats.chat_format import ChatFormat, Thinking
from worker.errors import WorkerError
from worker.models.folders import DEMO_MODELS, describe
from worker.sequence import Sequence


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_the_demo_models_answers_always_keep_their_schema(demo: Bench, temperature: float) -> None:
    chats = [
        constrained(demo, f"Who are you, number {seed}?", seed=seed, temperature=temperature)
        for seed in range(12)
    ]
    for text in texts_of(demo, *chats):
        check_person(text)
    assert all(
        chat.end is not None and chat.constraint is not None and not chat.constraint.broken
        for chat in chats
    )


@pytest.mark.parametrize("kv", [None, 4])
def test_random_models_keep_it_too_and_their_neighbours_say_the_same(
    bench_of: Callable[..., Bench], kv: Literal[4] | None
) -> None:
    alone = bench_of(kv).answer("neighbour", seed=5, temperature=0.8)
    bench = bench_of(kv)
    neighbour = bench.chat("neighbour", seed=5, temperature=0.8)
    *texts, _ = texts_of(
        bench,
        *(constrained(bench, f"chat {seed}", seed=seed, temperature=1.0) for seed in range(4)),
        neighbour,
    )
    for text in texts:
        check_person(text)
    assert neighbour.generated == alone


def test_an_answer_goes_on_in_mid_object(demo: Bench) -> None:
    whole = constrained(demo, "Hello!", seed=3, temperature=1.0)
    [text] = texts_of(demo, whole)
    check_person(text)
    for cut in (0, 1, 7, len(whole.generated) - 1):
        again = constrained(
            demo, "Hello!", seed=3, temperature=1.0, emitted=tuple(whole.generated[:cut])
        )
        texts_of(demo, again)
        assert [*again.emitted, *again.generated] == whole.generated


def test_any_object_is_an_object(demo: Bench) -> None:
    shape = {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 3}
    for text in texts_of(
        demo, *(constrained(demo, "Count.", shape, seed=seed, max_tokens=400) for seed in range(4))
    ):
        assert isinstance(json.loads(text), dict)


def test_a_vision_models_answer_keeps_it() -> None:
    record = describe(DEMO_MODELS / "vision", name="demo-vision")
    assert record is not None
    colour = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}},
        "required": ["colour"],
    }
    closed = colour | {"additionalProperties": False}
    bench = VisionBench(record)
    [text] = texts_of(bench, constrained(bench, "Which colour?", closed, temperature=1.0))
    assert json.loads(text)["colour"] in ("red", "green")


def test_thinking_that_the_prompt_began_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    thinks = ChatFormat(thinking=Thinking("<t>", "</t>", (5,), (7, 8)))
    monkeypatch.setattr(chat_template, "chat_format", lambda _: thinks)
    grammars = Grammars(None, [2])
    real = load_tokenizer(DEMO_MODELS / "chat")
    grammars._vocabulary = Grammars(real, [2])._llguidance_vocabulary()
    guided = OutputFormat(json_schema=settled({"enum": ["x"]}))
    constraint = grammars.constraint(guided, [1, 5])
    mask = np.ones(1300, dtype=np.bool_)
    for token in (9, 7, 9):
        constraint.accept(token)
        mask[:] = True
        constraint.fill_mask(mask)
        assert np.flatnonzero(~mask).tolist() == [2]
    constraint.accept(7)
    constraint.accept(8)
    constraint.fill_mask(mask)
    assert [real.decode([int(i)]) for i in np.flatnonzero(mask)] == ['"']
    assert grammars.constraint(guided, [1, 5, 7, 8])._thinking is None


def raw(bench: Bench, schema: str) -> Sequence:
    """A chat whose schema no API has checked: of an earlier release, or written to Redis
    directly."""
    chat = bench.chat("Hello!")
    return Sequence(
        chat.job.model_copy(update={"form": OutputFormat(separate=True, json_schema=schema)})
    )


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ('{"not": {"const": 1}, "$dynamicRef": "#a"}', "the keyword"),
        ('{"const": -9223372036854775808}', "an integer beyond 2^53"),
        (
            '{"type": "integer", "minimum": -9223372036854775808, "maximum": -9223372036854775808}',
            "beyond 2^63",
        ),
        ('{"type": "string", "pattern": "^((a{1000}){1000})$"}', "too complex"),
        ("[]", "not an object"),
    ],
)
def test_a_schema_that_nobody_has_read_is_read_before_the_matcher_sees_it(
    demo: Bench, monkeypatch: pytest.MonkeyPatch, schema: str, reason: str
) -> None:
    monkeypatch.setattr(json_schema, "Matcher", None)
    with pytest.raises(WorkerError) as refused:
        demo.backend.prepare(raw(demo, schema))
    assert refused.value.code == "invalid_schema"
    assert reason in refused.value.message


def test_what_a_schema_will_not_keep_is_warned_of(demo: Bench) -> None:
    chat = constrained(
        demo, "Hello!", {"type": "array", "items": {"enum": ["tea"]}, "uniqueItems": True}
    )
    assert demo.backend.prepare(chat) == ['The schema\'s keyword "uniqueItems" is not enforced.']


@pytest.mark.parametrize("emitted", [(), (0, 1)], ids=["new", "after a crash"])
def test_the_first_mask_is_made_as_a_prompt_is_prepared(
    demo: Bench, monkeypatch: pytest.MonkeyPatch, emitted: tuple[int, ...]
) -> None:
    """Computed on the engine's thread, a slow mask would delay every stream."""
    made: list[int] = []
    make = Constraint._compute_bits

    def counted(self: Constraint) -> None:
        made.append(len(self._answer))
        make(self)

    monkeypatch.setattr(Constraint, "_compute_bits", counted)
    whole = constrained(demo, "Hello!", seed=3, temperature=1.0)
    texts_of(demo, whole)
    made.clear()
    chat = constrained(
        demo, "Hello!", seed=3, temperature=1.0, emitted=tuple(whole.generated[: len(emitted)])
    )
    demo.backend.prepare(chat)
    assert made == [len(emitted)]
    demo.backend.add(chat)
    while demo.backend.sequences():
        demo.backend.step()
    assert made.count(len(emitted)) == 1
