"""A model with gpt-oss' template and control tokens: calls that must be made, answers under a
schema, and options that it doesn't have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.openai.tools import calls_of
from tests.mlx.conftest import Bench, bench_of_template
from tests.mlx.formats.template_support import FAMILIES
from tests.support.schema_support import settled
from wire.messages import Delta, OutputFormat
from worker.errors import WorkerError
from worker.sequence import Sequence
from worker.text_decoder import Output

ZONE = {
    "type": "object",
    "properties": {"zone": {"enum": ["UTC", "CET"]}},
    "required": ["zone"],
    "additionalProperties": False,
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": ZONE}}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder, family = tmp_path_factory.mktemp("models") / "harmony", FAMILIES["gpt-oss"]
    made = bench_of_template(folder, family.template, family.tokens)
    assert made.record.takes_tools
    return made


def told(bench: Bench, **form: Any) -> Output:
    """The answer of a random model."""
    job = bench.chat("What time is it?", max_tokens=100).job
    sequence = Sequence(job.model_copy(update={"form": OutputFormat(separate=True, **form)}))
    bench.start(sequence)
    events = []
    while bench.backend.sequences():
        for token in bench.backend.step().tokens:
            events += [] if token.end == "stop" else sequence.accept(token.token_id)
    events += sequence.finish("stop")
    return Output.together(event for event in events if isinstance(event, Delta))


def test_a_call_that_must_be_made_is_made_without_thinking(bench: Bench) -> None:
    schema = settled(json.loads(calls_of([CLOCK], "required")))
    answer = told(bench, tools=(CLOCK,), json_schema=schema, must_call=True)
    (call,) = answer.tool_calls
    assert (answer.text, answer.reasoning, call.name) == ("", "", "clock")
    assert json.loads(call.arguments)["zone"] in ("UTC", "CET")


def test_an_answer_under_a_schema_is_the_text(bench: Bench) -> None:
    answer = told(bench, json_schema=settled(ZONE))
    assert (answer.reasoning, answer.tool_calls) == ("", ())
    assert json.loads(answer.text)["zone"] in ("UTC", "CET")


def test_an_option_that_the_template_does_not_have_ends_the_chat_by_name(bench: Bench) -> None:
    for value in ("true", "false"):
        with pytest.raises(WorkerError, match="no option enable_thinking"):
            told(bench, template_options=f'{{"enable_thinking": {value}}}')
    assert told(bench, template_options='{"reasoning_effort": "low"}') != Output()
