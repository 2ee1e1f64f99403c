"""A model that is asked to think before an answer that is held to a schema or a grammar: its
thinking is free and is told apart, and the answer keeps to what it is held to."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.mlx.conftest import Bench, bench_of_template
from tests.support.schema_support import settled
from wire.messages import Delta, Grammar, LoggedEvent, OutputFormat
from worker.sequence import Sequence

TEMPLATE = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}"
    "{%- if enable_thinking is defined and not enable_thinking -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}{%- endif -%}"
)
COLOUR = settled(
    {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
)
THINK = '{"enable_thinking": true}'
BUDGET = 5
END = 2
"""The random model's end-of-text token."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("models") / "thinks"
    return bench_of_template(folder, TEMPLATE, ("<think>", "</think>"))


def chat(bench: Bench, emitted: tuple[int, ...] = (), **form: Any) -> Sequence:
    plain = bench.chat(
        "Which colour?", temperature=1.0, seed=4, max_tokens=80, thinking_budget=BUDGET
    )
    asked = OutputFormat(separate=True, **form)
    return Sequence(plain.job.model_copy(update={"form": asked}), emitted=emitted)


def said(bench: Bench, one: Sequence) -> tuple[str, str]:
    """The text and the thinking of an answer that ends by itself."""
    events: list[LoggedEvent] = []
    bench.start(one)
    while bench.backend.sequences():
        for token in bench.backend.step().tokens:
            if token.end == "stop":
                one.accept_last(token.token_id)
                events += one.finish("stop")
            else:
                events += one.accept(token.token_id)
    deltas = [event for event in events if isinstance(event, Delta)]
    return "".join(d.text for d in deltas), "".join(d.reasoning for d in deltas)


@pytest.mark.parametrize("asks", [THINK, '{"reasoning_effort": "low"}'])
def test_it_thinks_first_and_then_keeps_its_schema(bench: Bench, asks: str) -> None:
    one = chat(bench, template_options=asks, json_schema=COLOUR)
    text, reasoning = said(bench, one)
    assert json.loads(text)["colour"] in ("red", "green")
    assert reasoning
    assert one.usage.reasoning_tokens == BUDGET


def test_a_grammar_holds_behind_the_thinking_too(bench: Bench) -> None:
    phone = Grammar(kind="regex", text=r"\d{3}-\d{4}")
    text, reasoning = said(bench, chat(bench, template_options=THINK, grammar=phone))
    assert re.fullmatch(r"\d{3}-\d{4}", text)
    assert reasoning


def test_no_end_of_text_comes_while_it_thinks(bench: Bench) -> None:
    """It would end the answer without what it is held to."""
    one = chat(bench, template_options=THINK, json_schema=COLOUR)
    wants_to_end = one.job.sampling.model_copy(update={"logit_bias": ((END, 1000.0),)})
    one = Sequence(one.job.model_copy(update={"sampling": wants_to_end}))
    text, reasoning = said(bench, one)
    assert json.loads(text)["colour"] in ("red", "green")
    assert reasoning
    assert one.generated.index(END) == len(one.generated) - 1


@pytest.mark.parametrize("asks", [None, '{"enable_thinking": false}'])
def test_unasked_it_begins_with_the_answer(bench: Bench, asks: str | None) -> None:
    text, reasoning = said(bench, chat(bench, template_options=asks, json_schema=COLOUR))
    assert json.loads(text)["colour"] in ("red", "green")
    assert not reasoning


def test_it_goes_on_in_its_thinking_behind_it_and_in_the_schema(bench: Bench) -> None:
    whole = chat(bench, template_options=THINK, json_schema=COLOUR)
    said(bench, whole)
    for cut in (0, 2, BUDGET, BUDGET + 1, BUDGET + 4, len(whole.generated) - 1):
        begun = tuple(whole.generated[:cut])
        again = chat(bench, begun, template_options=THINK, json_schema=COLOUR)
        said(bench, again)
        assert [*again.emitted, *again.generated] == whole.generated
