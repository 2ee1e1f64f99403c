"""Answers that are held to a schema: with real models, in batches of both kinds, and going on
after a crash."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from mlx_lm.utils import load_tokenizer

from tests.mlx.conftest import Bench
from tests.mlx.test_vision import VisionBench
from tests.support.schema_support import settled
from tests.unit.worker.engine.test_batch_scheduler import Results
from tests.unit.worker.engine.test_engine import Reader
from wire.batches import BatchLine, BatchSlice
from wire.messages import Delta, Failed, Finished, LoggedEvent, OutputFormat
from worker.backends.sampling import json_schema
from worker.backends.sampling.json_schema import Constraint, Grammars
from worker.backends.sampling.logits_processors import LogitsProcessor
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.batch_sequence import BatchSequence
from worker.engine.context import EngineContext
from worker.engine.engine import Engine
from worker.errors import WorkerError
from worker.models.folders import DEMO_MODELS, describe
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "likes": {"type": "array", "items": {"enum": ["tea", "coffee"]}, "maxItems": 2},
        "friend": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    },
    "required": ["name", "age", "likes", "friend"],
    "additionalProperties": False,
}


def held(bench: Bench, text: str, schema: dict[str, Any] = PERSON, **more: Any) -> Sequence:
    """A chat whose answer is held to a schema."""
    chat = bench.chat(text, **{"max_tokens": 200, "repetition_penalty": 1.0, **more})
    job = chat.job.model_copy(
        update={"form": OutputFormat(separate=True, json_schema=settled(schema))}
    )
    return Sequence(job, emitted=chat.emitted)


def told(bench: Bench, *chats: Sequence) -> list[str]:
    """The texts of chats in one batch."""
    said: dict[Sequence, list[LoggedEvent]] = {chat: [] for chat in chats}
    bench.start(*chats)
    while bench.backend.sequences():
        for token in bench.backend.step().tokens:
            if token.end == "stop":
                token.sequence.accept_last(token.token_id)
                said[token.sequence] += token.sequence.finish("stop")
            else:
                said[token.sequence] += token.sequence.accept(token.token_id)
    return [
        "".join(event.text for event in events if isinstance(event, Delta))
        for events in said.values()
    ]


def check_person(text: str) -> None:
    person = json.loads(text)
    assert list(person) == ["name", "age", "likes", "friend"]
    assert isinstance(person["name"], str)
    assert len(person["name"]) <= 8
    assert 0 <= person["age"] <= 120
    assert set(person["likes"]) <= {"tea", "coffee"}
    assert person["friend"] in (None, True, False)


@pytest.fixture(scope="module")
def demo() -> Bench:
    record = describe(DEMO_MODELS / "chat", name="demo-chat")
    assert record is not None
    return Bench(record)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_the_demo_models_answers_always_keep_their_schema(demo: Bench, temperature: float) -> None:
    chats = [
        held(demo, f"Who are you, number {seed}?", seed=seed, temperature=temperature)
        for seed in range(12)
    ]
    for text in told(demo, *chats):
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
    *texts, _ = told(
        bench,
        *(held(bench, f"chat {seed}", seed=seed, temperature=1.0) for seed in range(4)),
        neighbour,
    )
    for text in texts:
        check_person(text)
    assert neighbour.generated == alone


def test_an_answer_goes_on_in_mid_object(demo: Bench) -> None:
    whole = held(demo, "Hello!", seed=3, temperature=1.0)
    [text] = told(demo, whole)
    check_person(text)
    for cut in (0, 1, 7, len(whole.generated) - 1):
        again = held(demo, "Hello!", seed=3, temperature=1.0, emitted=tuple(whole.generated[:cut]))
        told(demo, again)
        assert [*again.emitted, *again.generated] == whole.generated


def test_any_object_is_an_object(demo: Bench) -> None:
    shape = {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 3}
    for text in told(
        demo, *(held(demo, "Count.", shape, seed=seed, max_tokens=400) for seed in range(4))
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
    [text] = told(bench, held(bench, "Which colour?", closed, temperature=1.0))
    assert json.loads(text)["colour"] in ("red", "green")


def test_thinking_that_the_prompt_began_goes_first() -> None:
    class Text:
        """A tokeniser as far as it matters here."""

        has_thinking = True
        think_end_tokens = (7, 8)

        def rfind_think_start(self, ids: list[int]) -> int:
            return max((i for i, token in enumerate(ids) if token == 5), default=-1)

        def rfind_think_end(self, ids: list[int]) -> int:
            return max((i for i, token in enumerate(ids) if token == 7), default=-1)

    grammars = Grammars(Text(), [2])
    real = load_tokenizer(DEMO_MODELS / "chat")
    grammars._vocabulary = Grammars(real, [2])._llguidance_vocabulary()
    constraint = grammars.constraint(settled({"enum": ["x"]}), [1, 5])
    mask = np.ones(1300, dtype=np.bool_)
    for token in (9, 7, 9):
        constraint.accept(token)
        constraint.fill_mask(mask)
        assert mask.all()
    constraint.accept(7)
    constraint.accept(8)
    constraint.fill_mask(mask)
    assert [real.decode([int(i)]) for i in np.flatnonzero(mask)] == ['"']
    assert grammars.constraint(settled({"enum": ["x"]}), [1, 5, 7])._thinking is None


def raw(bench: Bench, schema: str) -> Sequence:
    """A chat whose schema no API has looked at: an earlier release's, or somebody's who can
    write to Redis."""
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
    chat = held(demo, "Hello!", {"type": "array", "items": {"enum": ["tea"]}, "uniqueItems": True})
    assert demo.backend.prepare(chat) == ['The schema\'s keyword "uniqueItems" is not enforced.']


@pytest.mark.parametrize("emitted", [(), (0, 1)], ids=["new", "after a crash"])
def test_the_first_mask_is_made_as_a_prompt_is_prepared(
    demo: Bench, monkeypatch: pytest.MonkeyPatch, emitted: tuple[int, ...]
) -> None:
    """On the engine's thread a costly one would hold up every stream."""
    made: list[int] = []
    make = Constraint._compute_bits

    def counted(self: Constraint) -> None:
        made.append(len(self._answer))
        make(self)

    monkeypatch.setattr(Constraint, "_compute_bits", counted)
    whole = held(demo, "Hello!", seed=3, temperature=1.0)
    told(demo, whole)
    made.clear()
    chat = held(
        demo, "Hello!", seed=3, temperature=1.0, emitted=tuple(whole.generated[: len(emitted)])
    )
    demo.backend.prepare(chat)
    assert made == [len(emitted)]
    demo.backend.add(chat)
    while demo.backend.sequences():
        demo.backend.step()
    assert made.count(len(emitted)) == 1


def models_of(demo: Bench) -> LoadedModels:
    """The demo model for an engine, which will close it."""
    find = {demo.record.id: demo.record}.get
    return LoadedModels(
        find, lambda _: Bench(demo.record).backend, budget=1 << 30, available=lambda: 1 << 30
    )


def test_the_engine_makes_it_on_another_thread(
    demo: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int]] = []
    make, reader = Constraint._compute_bits, Reader()

    def counted(self: Constraint) -> None:
        made.append((threading.current_thread().name, len(self._answer)))
        make(self)

    monkeypatch.setattr(Constraint, "_compute_bits", counted)
    models = models_of(demo)
    engine = Engine(models, reader)
    engine.start()
    engine.submit(held(demo, "Hello!", max_tokens=4))
    assert isinstance(reader.wait("job")[-1], Finished)
    engine.close(10)
    assert [thread for thread, said in made if said == 0] == ["tokenise_0"]
    assert {thread for thread, said in made if said > 0} == {"engine"}


class Breaks(Constraint):
    """Can be followed for two tokens only."""

    def _compute_bits(self) -> None:
        super()._compute_bits()
        if len(self._answer) > 1:
            self._break("its parts contradict each other")


@pytest.mark.parametrize("in_a_batch", [False, True])
def test_an_answer_that_breaks_off_fails_with_the_reason(
    demo: Bench, monkeypatch: pytest.MonkeyPatch, in_a_batch: bool
) -> None:
    monkeypatch.setattr(json_schema, "Constraint", Breaks)
    reader, results = Reader(), Results()
    models = models_of(demo)
    context = EngineContext()
    engine = Engine(
        models,
        reader,
        context=context,
        prompts=BatchScheduler(models, slots=4, share=0.0, context=context, on_end=results),
    )
    engine.start()
    chat = held(demo, "Hello!")
    if in_a_batch:
        names = ("model_id", "model_revision", "messages", "sampling", "form")
        line = BatchLine.model_validate(
            {"number": 1, "custom_id": "c"} | {n: getattr(chat.job, n) for n in names}
        )
        part = BatchSlice(job_id="slice", batch_id="b", owner="everyone", number=0)
        engine.submit_prompts([BatchSequence(line, part, 1)])
        [result] = results.wait(1)
        failure = result.error
    else:
        engine.submit(chat)
        end = reader.wait("job")[-1]
        failure = (end.code, end.message) if isinstance(end, Failed) else None
    engine.close(10)
    reason = "The answer can't be held to its schema: its parts contradict each other."
    assert failure == ("invalid_schema", reason)


def test_penalties_count_what_was_said_and_survive_a_crash(bench: Bench) -> None:
    plain = bench.answer("hello", temperature=0.0, repetition_penalty=1.0, max_tokens=60)
    settings = {
        "temperature": 0.0,
        "repetition_penalty": 1.0,
        "max_tokens": 60,
        "frequency_penalty": 2.0,
    }
    whole = bench.answer("hello", presence_penalty=2.0, **settings)
    assert len(set(whole)) > len(set(plain))
    again = bench.chat("hello", emitted=tuple(whole[:20]), presence_penalty=2.0, **settings)
    bench.start(again)
    bench.run()
    assert again.generated == whole[20:]


def test_a_penalty_grows_with_what_was_said(bench: Bench) -> None:
    job = bench.chat("hello", presence_penalty=0.5, frequency_penalty=0.25).job
    processor = LogitsProcessor(Sequence(job, emitted=(3, 3, 1)), None)
    processor.accept(3)
    bias = np.zeros(5, dtype=np.float32)
    processor.write_bias(bias)
    assert bias.tolist() == [0, -0.75, 0, -1.25, 0]
