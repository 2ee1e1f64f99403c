"""How many tokens of an answer are thinking: those between the marks, in every format that has
marks, whether the answer is split or not, and the same after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.mlx.formats.format_support import TOOLS, chat
from tests.mlx.formats.template_support import FAMILIES
from tests.mlx.formats.template_support import tokenizer_of as family_tokenizer
from tests.mlx.formats.thinking_templates import (
    MODELS,
    Model,
    between_marks,
    tokenizer_of,
    tokens_of,
)
from tests.support.lanes import prompt
from wire.messages import ChatJob
from worker.backends.prompting.text import LmText
from worker.engine.batch_sequence import BatchSequence
from worker.sequence import Sequence

every = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
NATIVE = {"separate": False, "tools": ()}
SPLIT = {"separate": True, "tools": ()}


def job_with(**form: Any) -> ChatJob:
    job = chat()
    return job.model_copy(update={"form": job.form.model_copy(update=form)})


def counted(text: LmText, job: ChatJob, answer: list[int], cut: int) -> int:
    """The count after a crash behind so many of the answer's tokens."""
    sequence = Sequence(job, emitted=tuple(answer[:cut]))
    text.prepare(sequence)
    for token in answer[cut:]:
        sequence.accept(token)
    sequence.finish("stop")
    assert sequence.end is not None
    return sequence.end.usage.reasoning_tokens


@every
@pytest.mark.parametrize("form", [NATIVE, SPLIT], ids=["native", "split"])
def test_tokens_between_the_marks_are_counted(
    tmp_path: Path, model: Model, form: dict[str, Any]
) -> None:
    tokenizer = tokenizer_of(tmp_path, model)
    text, job = LmText(tokenizer, 8192), job_with(**form)
    answer = tokens_of(tokenizer, model.answer)
    expected = len(between_marks(model).encode())
    assert expected >= len(model.thought)
    assert {counted(text, job, answer, cut) for cut in range(len(answer) + 1)} == {expected}


@every
def test_an_answer_that_is_cut_while_thinking_counts_what_came(
    tmp_path: Path, model: Model
) -> None:
    tokenizer = tokenizer_of(tmp_path, model)
    text, job = LmText(tokenizer, 8192), job_with(**NATIVE)
    written = model.answer[: model.answer.index(model.thought) + len(model.thought)]
    answer = tokens_of(tokenizer, written)
    *_, begun = between_marks(model).partition(model.thought)
    expected = len(between_marks(model).encode()) - len(begun.encode())
    assert counted(text, job, answer, 0) == expected
    # The beginning of a mark that is none is thinking.
    assert counted(text, job, [*answer, *tokens_of(tokenizer, "<")], 0) == expected + 1


def test_a_mark_of_several_tokens_is_no_thinking_unless_it_breaks_off(tmp_path: Path) -> None:
    model = MODELS["kimi k3"]
    tokenizer = tokenizer_of(tmp_path, model)
    text, job = LmText(tokenizer, 8192), job_with(**SPLIT)
    answer = tokens_of(tokenizer, f"{model.before}Hm<|close|>think")
    assert counted(text, job, answer, 0) == len("Hm") + 1 + len("think")
    assert counted(text, job, [*answer, *tokens_of(tokenizer, "<|sep|>")], 0) == len("Hm")
    assert counted(text, job, [*answer, *tokens_of(tokenizer, "!")], 0) == len("Hm") + 7


def test_marks_inside_a_tools_arguments_are_none(tmp_path: Path) -> None:
    tokenizer = family_tokenizer(tmp_path, FAMILIES["magistral"])
    text, job = LmText(tokenizer, 8192), job_with(separate=True, tools=TOOLS)
    call = '[TOOL_CALLS][{"name": "clock", "arguments": {"zone": "[THINK]UTC"}}]'
    answer = tokens_of(tokenizer, f"[THINK]Hm.[/THINK]{call}")
    assert counted(text, job, answer, 0) == len("Hm.")


def test_a_completion_and_a_model_without_marks_have_no_thinking(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, MODELS["qwen3"])
    answer = tokens_of(tokenizer, "<think>Hm.</think>5.")
    assert counted(LmText(tokenizer, 8192), job_with(raw=True, **NATIVE), answer, 0) == 0


def test_a_line_of_a_batch_counts_at_its_end(tmp_path: Path) -> None:
    model = MODELS["qwen3 thinking"]
    tokenizer = tokenizer_of(tmp_path, model)
    asked = prompt("What is 2+3?", max_tokens=100)
    line = asked.line.model_copy(update={"form": job_with(**SPLIT).form})
    sequence = BatchSequence(line, asked.part, 1)
    LmText(tokenizer, 8192).prepare(sequence)
    for token in tokens_of(tokenizer, model.answer):
        sequence.accept(token)
    sequence.finish("stop")
    result = sequence.result()
    assert (result.text, result.usage.reasoning_tokens) == ("5.", len(between_marks(model)))
