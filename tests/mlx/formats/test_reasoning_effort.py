"""``reasoning_effort`` in the terms of each template, and a warning where it changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.mlx.formats.format_support import chat
from tests.mlx.formats.template_support import FAMILIES, PLAIN, Family, tokenizer_of
from tests.support.schema_support import settled
from worker.backends.prompting.text import LmText
from worker.backends.sampling.thinking_budget import ThinkingBudget
from worker.sequence import Sequence

SHOWN = (
    "{{ 'E:' + (reasoning_effort | default('unset')) }}"
    "{{ ',S:' + (enable_thinking | default('unset') | string) }}"
    "{{ ',T:' + (thinking | default('unset') | string) }}"
)
THINK = ("<think>", "</think>")
HAS_EFFORT = Family(SHOWN.split("{{ ',S")[0] + "|" + PLAIN, None, THINK)
SWITCH = Family("{{ 'S:' + (enable_thinking | string) + '|' }}" + PLAIN, None, THINK)
OTHER_SWITCH = Family(
    "{{ 'T:' + (thinking | default(false) | string) + '|' }}" + PLAIN, None, THINK
)
ALWAYS = Family(PLAIN + "<think>\n", None, THINK)
NEVER = Family(PLAIN, None)
NO_SETTING = "reasoning_effort has no effect: this model's chat template has no setting for it."
NO_THINKING = "reasoning_effort has no effect: this model does not think."


def prepared(folder: Path, family: Family, **form: Any) -> tuple[str, list[str], Sequence]:
    """What the template shows, the warnings, and the sequence."""
    options = form.pop("options")
    job = chat(tools=())
    form = {"template_options": json.dumps(options), **form}
    sequence = Sequence(job.model_copy(update={"form": job.form.model_copy(update=form)}))
    text = LmText(tokenizer_of(folder, family), 8192)
    warnings = text.prepare(sequence)
    shown = str(text.tokenizer.decode(sequence.prompt_ids)).partition("|")[0]
    return shown, warnings, sequence


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high"])
def test_a_template_that_reads_it_gets_it(tmp_path: Path, effort: str) -> None:
    shown, warnings, sequence = prepared(tmp_path, HAS_EFFORT, options={"reasoning_effort": effort})
    assert (shown, warnings, sequence.thinking_budget) == (f"E:{effort}", [], None)


@pytest.mark.parametrize(
    ("effort", "given"), [("none", "low"), ("minimal", "low"), ("medium", "medium")]
)
def test_harmony_knows_three(tmp_path: Path, effort: str, given: str) -> None:
    job = chat(tools=())
    form = job.form.model_copy(update={"template_options": f'{{"reasoning_effort": "{effort}"}}'})
    sequence = Sequence(job.model_copy(update={"form": form}))
    text = LmText(tokenizer_of(tmp_path, FAMILIES["gpt-oss"]), 8192)
    assert text.prepare(sequence) == []
    assert f"Reasoning: {given}" in text.tokenizer.decode(sequence.prompt_ids)
    ends_at_once = isinstance(sequence.thinking_budget, ThinkingBudget)
    assert ends_at_once == (effort == "none")


@pytest.mark.parametrize(
    ("effort", "is_on"),
    [("none", False), ("minimal", False), ("low", True), ("medium", True), ("high", True)],
)
@pytest.mark.parametrize(("family", "name"), [(SWITCH, "S"), (OTHER_SWITCH, "T")])
def test_where_thinking_can_only_be_switched_it_is(
    tmp_path: Path, family: Family, name: str, effort: str, is_on: bool
) -> None:
    shown, warnings, _ = prepared(tmp_path, family, options={"reasoning_effort": effort})
    assert (shown, warnings) == (f"{name}:{is_on}", [])


def test_an_option_by_its_own_name_comes_first(tmp_path: Path) -> None:
    options = {"reasoning_effort": "none", "enable_thinking": True}
    assert prepared(tmp_path, SWITCH, options=options)[0] == "S:True"


@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high"])
def test_a_model_that_always_thinks_says_that_it_has_no_setting(
    tmp_path: Path, effort: str
) -> None:
    _, warnings, sequence = prepared(tmp_path, ALWAYS, options={"reasoning_effort": effort})
    assert (warnings, sequence.thinking_budget) == ([NO_SETTING], None)


def test_a_model_that_always_thinks_ends_it_at_once_for_none(tmp_path: Path) -> None:
    _, warnings, sequence = prepared(tmp_path, ALWAYS, options={"reasoning_effort": "none"})
    assert warnings == []
    assert sequence.thinking_budget is not None
    assert sequence.thinking_budget.forced is not None


def test_a_model_that_does_not_think_says_so_unless_it_need_not(tmp_path: Path) -> None:
    for effort, told in (("high", [NO_THINKING]), ("low", [NO_THINKING]), ("none", [])):
        options = {"reasoning_effort": effort}
        assert prepared(tmp_path / effort, NEVER, options=options)[1] == told


@pytest.mark.parametrize(("effort", "is_on"), [("high", True), ("none", False)])
def test_under_a_schema_a_model_that_is_asked_to_think_begins_with_it(
    tmp_path: Path, effort: str, is_on: bool
) -> None:
    schema = settled({"type": "object"})
    options = {"reasoning_effort": effort}
    shown, warnings, sequence = prepared(tmp_path, SWITCH, options=options, json_schema=schema)
    assert (shown, warnings) == (f"S:{is_on}", [])
    end = tokenizer_of(tmp_path / "again", SWITCH).decode(sequence.prompt_ids[-1:])
    assert (end == "<think>") == is_on


def test_a_schemas_answer_of_harmony_says_that_it_does_not_think(tmp_path: Path) -> None:
    job = chat(tools=())
    held = {"template_options": '{"reasoning_effort": "high"}', "json_schema": settled({})}
    sequence = Sequence(job.model_copy(update={"form": job.form.model_copy(update=held)}))
    assert LmText(tokenizer_of(tmp_path, FAMILIES["gpt-oss"]), 8192).prepare(sequence) == [
        "reasoning_effort has no effect: an answer of this model that is held to a schema begins "
        "with it."
    ]
