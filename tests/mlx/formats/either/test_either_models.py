"""Models of several formats whose answers are either calls or held to a schema: both can be had,
and each is what it has to be, behind thinking, after a crash and with a prompt that is known."""

from __future__ import annotations

import json
from shutil import copytree
from typing import Any

import pytest

from scripts.training.random_text_model import SMALL, make
from tests.mlx.conftest import Bench, bench_of_template
from tests.mlx.formats.either.either_support import form
from tests.mlx.formats.template_support import GPT_OSS, PLAIN, with_tools
from wire.messages import Delta, Finished, LoggedEvent, ToolCall, whole_calls
from worker.backends.text.formats import harmony
from worker.sequence import Sequence
from worker.text_decoder import Output

THINKS = with_tools("<tool_call></tool_call>") + (
    "{%- if enable_thinking is defined and not enable_thinking -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
)
MODELS = {
    "hermes": (with_tools("<tool_call></tool_call>"), ("<tool_call>", "</tool_call>")),
    "coder": (with_tools("<tool_call><function=f>"), ("<tool_call>", "</tool_call>")),
    "mistral": (with_tools("[TOOL_CALLS]"), ("[TOOL_CALLS]", "[ARGS]")),
    "llama": (with_tools('{"name": function name}'), ("<|python_tag|>",)),
    "harmony": (
        GPT_OSS,
        ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|constrain|>"),
    ),
    "granite": (with_tools("<|tool_call|>"), ("<|tool_call|>",)),
    "in the prompt": (PLAIN, ()),
    "thinks": (THINKS, ("<think>", "</think>", "<tool_call>", "</tool_call>")),
}
CALLS = {
    "hermes": "<tool_call>",
    "coder": "<tool_call>",
    "mistral": "[TOOL_CALLS]",
    "llama": '{"name',
    "harmony": harmony.CALL,
    "granite": "<|tool_call|>",
    "in the prompt": "<tool_call>",
}
"""What begins a call."""
ANSWERS = dict.fromkeys(CALLS, '{"colour') | {"harmony": harmony.FINAL}
"""What begins an answer."""
COLOUR: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}, "depth": {"type": "boolean"}},
    "required": ["colour", "depth"],
    "additionalProperties": False,
}
PAINT: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "paint",
        "parameters": {
            "type": "object",
            "properties": {"wall": {"enum": ["north", "south"]}, "coats": {"enum": [1, 2]}},
            "required": ["wall", "coats"],
        },
    },
}
LOOK = {"type": "function", "function": {"name": "look"}}
THINK = '{"enable_thinking": true}'
BUDGET = 5
END = 2
"""The random model's end-of-text token."""
ENDS = ((END, 100.0),)
"""Has a random model end where it may: it might call tools for ever."""
every = pytest.mark.parametrize("name", CALLS)


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """A model of each format, with the same weights."""
    made: dict[str, Bench] = {}
    weights = make(tmp_path_factory.mktemp("weights") / "random", SMALL)
    for name, (template, tokens) in MODELS.items():
        folder = copytree(weights, tmp_path_factory.mktemp("models") / name)
        made[name] = bench_of_template(folder, template, tokens)
    return made


def encode(bench: Bench, text: str) -> tuple[int, ...]:
    return tuple(int(i) for i in bench.tokenizer.encode(text, add_special_tokens=False))


def chat(
    bench: Bench,
    emitted: tuple[int, ...] = (),
    *,
    shape: dict[str, Any] | None = None,
    **sampling: Any,
) -> Sequence:
    asked = form([PAINT, LOOK], COLOUR)
    if not bench.record.takes_tools:
        asked = asked.model_copy(update={"prompt_tools": True})
    asked = asked.model_copy(update={"call_pieces": True, **(shape or {})})
    plain = bench.chat(
        "Which colour?",
        **{"temperature": 1.0, "seed": 4, "max_tokens": 400, "logit_bias": ENDS, **sampling},
    )
    return Sequence(plain.job.model_copy(update={"form": asked}), emitted=emitted)


def run(bench: Bench, *chats: Sequence) -> None:
    """Run answers to their ends, together."""
    bench.start(*chats)
    bench.run()
    for one in chats:
        assert one.generated[-1] == END, "it ends by itself"


def told(bench: Bench, one: Sequence) -> tuple[str, str, list[ToolCall]]:
    """The text, the thinking and the calls of a whole answer."""
    reader = Sequence(one.job)
    bench.backend.prepare(reader)
    events: list[LoggedEvent] = []
    for token in [*one.emitted, *one.generated][:-1]:
        events += reader.accept(token)
    events += reader.finish("stop")
    assert isinstance(events[-1], Finished)
    output = Output.together(event for event in events if isinstance(event, Delta))
    return output.text, output.reasoning, list(whole_calls(output.tool_calls))


def check(text: str, calls: list[ToolCall]) -> None:
    """An answer is calls, or keeps the schema."""
    if not calls:
        answer = json.loads(text)
        assert answer["colour"] in ("red", "green")
        assert isinstance(answer["depth"], bool)
        return
    assert text == ""
    for call in calls:
        given = json.loads(call.arguments)
        assert call.name in ("paint", "look")
        if call.name == "paint":
            assert (given["wall"] in ("north", "south"), given["coats"] in (1, 2)) == (True, True)


@every
def test_what_begins_as_a_call_is_one_and_what_does_not_keeps_the_schema(
    benches: dict[str, Bench], name: str
) -> None:
    bench = benches[name]
    begun = {begin: encode(bench, begin) for begin in (CALLS[name], ANSWERS[name])}
    chats = [
        (begin, chat(bench, ids, seed=seed)) for begin, ids in begun.items() for seed in (0, 1)
    ]
    run(bench, *(one for _, one in chats))
    for begin, one in chats:
        text, _, calls = told(bench, one)
        check(text, calls)
        assert bool(calls) == (begin == CALLS[name])


@every
def test_a_model_writes_one_or_the_other(benches: dict[str, Bench], name: str) -> None:
    bench = benches[name]
    chats = [chat(bench, seed=seed, thinking_budget=BUDGET) for seed in range(4)]
    run(bench, *chats)
    for one in chats:
        text, reasoning, calls = told(bench, one)
        # Harmony's models begin their thinking themselves.
        assert not reasoning or name == "harmony"
        check(text, calls)


@pytest.mark.parametrize("name", ["hermes", "mistral", "granite", "coder"])
def test_a_bias_on_the_mark_decides(benches: dict[str, Bench], name: str) -> None:
    bench = benches[name]
    (mark,) = encode(bench, CALLS[name])
    for bias, is_call in ((100.0, True), (-100.0, False)):
        one = chat(bench, logit_bias=(*ENDS, (mark, bias)))
        run(bench, one)
        assert (one.generated[0] == mark) == is_call
        text, _, calls = told(bench, one)
        check(text, calls)
        assert bool(calls) == is_call


@every
def test_it_goes_on_behind_a_crash_at_any_token(benches: dict[str, Bench], name: str) -> None:
    bench = benches[name]
    for begin in (CALLS[name], ANSWERS[name]):
        begun = encode(bench, begin)
        whole = chat(bench, begun, seed=2)
        run(bench, whole)
        tokens = [*whole.emitted, *whole.generated]
        cuts = {len(begun), len(begun) + 2, len(tokens) // 2, len(tokens) - 2}
        chats = [chat(bench, tuple(tokens[:cut]), seed=2) for cut in sorted(cuts)]
        run(bench, *chats)
        assert [[*again.emitted, *again.generated] for again in chats] == [tokens] * len(chats)


def test_a_prompt_that_is_known_changes_nothing(benches: dict[str, Bench]) -> None:
    bench = benches["hermes"]
    bench.forget()
    first, second = chat(bench, seed=3), chat(bench, seed=3)
    run(bench, first)
    run(bench, second)
    assert (first.cached_tokens, second.cached_tokens > 0) == (0, True)
    assert first.generated == second.generated


@pytest.mark.parametrize("begin", ["<tool_call>", "\n\n<tool_call>", '{"colour', '\n{"colour'])
def test_a_model_that_thinks_first_decides_behind_it(benches: dict[str, Bench], begin: str) -> None:
    bench = benches["thinks"]
    shape = {"template_options": THINK}
    whole = chat(bench, shape=shape, thinking_budget=BUDGET)
    run(bench, whole)
    text, reasoning, calls = told(bench, whole)
    check(text, calls)
    assert reasoning
    assert whole.usage.reasoning_tokens == BUDGET
    thought = tuple(whole.generated[: whole.generated.index(*encode(bench, "</think>")) + 1])
    one = chat(bench, (*thought, *encode(bench, begin)), shape=shape, thinking_budget=BUDGET)
    run(bench, one)
    text, again, calls = told(bench, one)
    check(text, calls)
    assert again == reasoning
    assert bool(calls) == ("tool_call" in begin)
    for cut in (2, BUDGET, len(thought), len(one.emitted) + 2):
        tokens = [*one.emitted, *one.generated]
        resumed = chat(bench, tuple(tokens[:cut]), shape=shape, thinking_budget=BUDGET)
        run(bench, resumed)
        check(told(bench, resumed)[0], told(bench, resumed)[2])
    assert [*resumed.emitted, *resumed.generated] == tokens


@pytest.mark.parametrize("begin", [harmony.CALL, harmony.FINAL])
def test_a_model_of_harmony_may_think_first(benches: dict[str, Bench], begin: str) -> None:
    bench = benches["harmony"]
    thought = encode(bench, f"{harmony.ANALYSIS}Hm.")
    whole = chat(bench, thought, thinking_budget=BUDGET)
    run(bench, whole)
    text, reasoning, calls = told(bench, whole)
    check(text, calls)
    assert reasoning.startswith("Hm.")
    end = encode(bench, f"{harmony.END_OF_THINKING}{begin}")
    one = chat(bench, (*thought, *end), thinking_budget=BUDGET)
    run(bench, one)
    text, reasoning, calls = told(bench, one)
    check(text, calls)
    assert (reasoning, bool(calls)) == ("Hm.", begin == harmony.CALL)


def test_a_call_in_the_thinking_is_thought(benches: dict[str, Bench]) -> None:
    """Only what ends the thinking does: else no end could come."""
    bench = benches["thinks"]
    begun = encode(bench, "Hm. <tool_call>")
    one = chat(bench, begun, shape={"template_options": THINK}, thinking_budget=20)
    run(bench, one)
    text, reasoning, calls = told(bench, one)
    assert "<tool_call>" in reasoning
    check(text, calls)


def test_unasked_it_begins_with_one_or_the_other(benches: dict[str, Bench]) -> None:
    bench = benches["thinks"]
    one = chat(bench)
    run(bench, one)
    text, reasoning, calls = told(bench, one)
    check(text, calls)
    assert not reasoning
