"""A limit of thinking: the tokens that end it are forced at the limit, in every format, and only by
what the answer's tokens are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.mlx.formats.format_support import chat
from tests.mlx.formats.template_support import PLAIN, Family
from tests.mlx.formats.template_support import tokenizer_of as family_tokenizer
from tests.mlx.formats.thinking_templates import (
    MODELS,
    OTHERS,
    Model,
    between_marks,
    tokenizer_of,
    tokens_of,
)
from tests.support.schema_support import settled
from wire.messages import ChatJob, Delta
from worker.backends.prompting.text import LmText
from worker.backends.sampling.thinking_budget import ThinkingBudget
from worker.sequence import Sequence
from worker.text_decoder import Output

every = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
SAID = "5."


def job_with(budget: int | None, **form: Any) -> ChatJob:
    job = chat(tools=())
    sampling = job.sampling.model_copy(update={"thinking_budget": budget})
    return job.model_copy(update={"sampling": sampling, "form": job.form.model_copy(update=form)})


class Writer:
    """A model that thinks on and on: it opens its thinking, and says what it says once the thinking
    is over."""

    def __init__(self, folder: Path, model: Model, job: ChatJob) -> None:
        self.tokenizer = tokenizer_of(folder, model)
        self.text, self.job = LmText(self.tokenizer, 8192), job
        opening = "" if model.opens else model.before
        self.opening = tokens_of(self.tokenizer, opening)
        self.prepared = Sequence(job)
        self.text.prepare(self.prepared)

    def budget(self, answer: list[int]) -> ThinkingBudget:
        """The limit after this part of an answer, as a process that takes it up has it."""
        sequence = Sequence(self.job, emitted=tuple(answer))
        self.text.prepare(sequence)
        limit = sequence.thinking_budget
        assert isinstance(limit, ThinkingBudget)
        limit.start(answer)
        return limit

    def answer(self, wants: str) -> list[int]:
        """The answer of a model that wants to say this: what is forced comes in between."""
        limit, answer = self.budget([]), []
        rest = [*self.opening, *tokens_of(self.tokenizer, wants)]
        while rest or limit.forced is not None:
            if (token := limit.forced) is None:
                token = rest.pop(0)
            answer.append(token)
            limit.accept(token)
        return answer

    def read(self, answer: list[int]) -> tuple[Output, int]:
        sequence = Sequence(self.job)
        self.text.prepare(sequence)
        events = [event for token in answer for event in sequence.accept(token)]
        events += sequence.finish("stop")
        told = Output.together(event for event in events if isinstance(event, Delta))
        return told, sequence.usage.reasoning_tokens


@every
@pytest.mark.parametrize("tokens", [0, 1, 7])
def test_thinking_ends_at_its_limit_with_what_the_template_writes(
    tmp_path: Path, model: Model, tokens: int
) -> None:
    writer = Writer(tmp_path, model, job_with(tokens))
    closing = tokens_of(writer.tokenizer, model.closing)
    begun = len(between_marks(model).partition(model.thought)[0])
    thought = "x" * max(0, tokens - begun)
    answer = writer.answer(f"{thought}{SAID}")
    opening = writer.opening[: len(writer.opening) - max(0, begun - tokens)]
    assert answer[: len(opening)] == opening
    at = len(opening) + len(thought)
    assert answer[at : at + len(closing)] == closing
    told, counted = writer.read(answer)
    assert (told.reasoning.strip(), counted) == (thought, tokens)
    assert told.text.strip().endswith(SAID)


@every
def test_a_crash_in_the_middle_of_the_marks_goes_on_in_their_middle(
    tmp_path: Path, model: Model
) -> None:
    writer = Writer(tmp_path, model, job_with(4))
    answer = writer.answer(f"{'x' * 9}{SAID}")
    limit = writer.budget([])
    forced = []
    for place, token in enumerate(answer):
        assert writer.budget(answer[:place]).forced == limit.forced
        forced.append(limit.forced)
        limit.accept(token)
    closing = tokens_of(writer.tokenizer, model.closing)
    assert [token for token in forced if token is not None] == closing


@every
def test_a_model_that_ends_its_thinking_by_itself_is_left_alone(
    tmp_path: Path, model: Model
) -> None:
    whole = len(between_marks(model).encode())
    # Tokens that may be the beginning of the mark count until it is whole.
    writer = Writer(tmp_path, model, job_with(whole + len(model.end)))
    wants = model.answer.removeprefix("" if model.opens else model.before)
    assert writer.answer(wants) == tokens_of(writer.tokenizer, model.answer)


def test_marks_that_the_model_has_begun_at_the_limit_are_completed(tmp_path: Path) -> None:
    writer = Writer(tmp_path, MODELS["kimi k3"], job_with(3))
    begun = [*writer.opening, *tokens_of(writer.tokenizer, "xx<|close|>")]
    limit = writer.budget(begun)
    completed = []
    while (token := limit.forced) is not None:
        completed.append(token)
        limit.accept(token)
    closing = tokens_of(writer.tokenizer, MODELS["kimi k3"].closing)
    assert completed == closing[1:]


def test_thinking_that_begins_again_counts_on(tmp_path: Path) -> None:
    writer = Writer(tmp_path, MODELS["qwen3"], job_with(4))
    answer = writer.answer("ab</think>c<think>defghi")
    written = writer.tokenizer.decode(answer)
    assert written == "<think>\nab</think>c<think>d</think>\n\nefghi"
    assert writer.read(answer)[1] == 4


def test_under_a_schema_only_the_mark_is_forced(tmp_path: Path) -> None:
    schema = settled({"type": "object"})
    always = replace(MODELS["qwen3 thinking"], template=f"{PLAIN}<think>\n")
    writer = Writer(tmp_path, always, job_with(2, json_schema=schema))
    assert writer.tokenizer.decode(writer.answer("xx")) == "xx</think>"


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_without_marks_has_no_thinking_to_limit(tmp_path: Path, name: str) -> None:
    sequence = Sequence(job_with(3))
    LmText(family_tokenizer(tmp_path, Family(OTHERS[name], None)), 8192).prepare(sequence)
    assert sequence.thinking_budget is None


def test_without_a_limit_there_is_none(tmp_path: Path) -> None:
    sequence = Sequence(job_with(None))
    LmText(tokenizer_of(tmp_path, MODELS["qwen3"]), 8192).prepare(sequence)
    assert sequence.thinking_budget is None
