"""A model whose template and tokens have thinking and tools: its prompts, and how its output is
parsed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api.openai.tools import calls_of
from tests.mlx.conftest import Bench, bench_of_template
from tests.support.schema_support import settled
from wire.batches import BatchLine, BatchSlice
from wire.messages import ChatJob, Delta, LoggedEvent, Message, OutputFormat, Sampling, ToolCall
from wire.model_registry import ModelRecord
from worker.engine.batch_sequence import BatchSequence
from worker.errors import WorkerError
from worker.models.folders import describe
from worker.sequence import Sequence
from worker.text_decoder import Output

MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
TEMPLATE = """\
{%- if tools -%}<|im_start|>tools
{% for tool in tools -%}{{ tool | tojson }}{%- endfor -%}<|im_end|>
{% endif -%}
{%- for m in messages -%}<|im_start|>{{ m.role }}
{% if m.name %}({{ m.name }}) {% endif %}{{ m.content -}}
{%- for call in m.tool_calls or [] -%}{%- set tool_call = call.function -%}
<tool_call>{"name": "{{ tool_call.name }}", "arguments": {{ tool_call.arguments | tojson }}}</tool_call>
{%- endfor -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif -%}
{%- if messages[-1].content == "think first" %}<think>{% endif -%}{%- endif -%}"""
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}},
}
CALL = '<tool_call>\n{"name": "clock", "arguments": {"zone": "UTC"}}\n</tool_call>'


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench_of_template(tmp_path_factory.mktemp("models") / "tools", TEMPLATE, MARKS)


def chat(bench: Bench, *messages: Message, **form: Any) -> Sequence:
    job = ChatJob(
        job_id="job",
        owner="everyone",
        model_id=bench.record.id,
        model_revision=bench.record.revision,
        messages=messages or (Message(role="user", content="What time is it?"),),
        sampling=Sampling(seed=1, stop=("END",)),
        form=OutputFormat(**{"separate": True, **form}),
        submitted_ms=0,
    )
    sequence = Sequence(job)
    bench.backend.prepare(sequence)
    return sequence


def output_of(bench: Bench, sequence: Sequence, text: str) -> Output:
    """The parsed output of a text that the model generates token by token."""
    ids = bench.tokenizer.encode(text, add_special_tokens=False)
    events = [event for token in ids for event in sequence.accept(token)]
    return Output.together(
        event for event in [*events, *sequence.finish("stop")] if isinstance(event, Delta)
    )


def test_the_model_is_known_to_take_tools_and_a_plain_one_is_not(
    bench: Bench, record: ModelRecord
) -> None:
    assert bench.record.takes_tools
    assert not record.takes_tools
    with pytest.raises(WorkerError) as refused:
        chat(Bench(record), tools=(CLOCK,))
    assert refused.value.code == "unsupported"


def test_the_template_gets_tools_calls_and_their_answers(bench: Bench) -> None:
    call = ToolCall(id="c1", name="clock", arguments='{"zone": "UTC"}')
    turns = (
        Message(role="user", content="What time is it?", name="Ann"),
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="noon", tool_call_id="c1"),
    )
    text = bench.prompt(chat(bench, *turns, tools=(CLOCK,)))
    assert json.dumps(CLOCK) in text
    assert "(Ann) What time is it?" in text
    assert '<tool_call>{"name": "clock", "arguments": {"zone": "UTC"}}</tool_call>' in text
    assert "<|im_start|>tool\nnoon" in text


def test_without_tools_there_are_none_in_the_prompt_and_none_are_called(bench: Bench) -> None:
    sequence = chat(bench)
    assert "tools" not in bench.prompt(sequence)
    assert output_of(bench, sequence, f"Well.{CALL}") == Output(f"Well.{CALL}")


def test_thinking_text_and_calls_are_separated(bench: Bench) -> None:
    output = output_of(
        bench,
        chat(bench, tools=(CLOCK,)),
        f"<think>\nHm.\n</think>\n\nOne moment.{CALL} END not this",
    )
    assert (output.text, output.reasoning) == ("One moment. ", "Hm.\n")
    assert [(call.name, call.arguments) for call in output.tool_calls] == [
        ("clock", '{"zone": "UTC"}')
    ]


def test_a_prompt_that_begins_the_thinking_is_seen(bench: Bench) -> None:
    sequence = chat(bench, Message(role="user", content="think first"))
    assert output_of(bench, sequence, "Hm.</think>Yes.") == Output("Yes.", "Hm.")


def test_the_native_api_gets_the_words_as_they_are(bench: Bench) -> None:
    text = f"<think>Hm.</think>Yes.{CALL}"
    assert output_of(bench, chat(bench, separate=False), text) == Output(text)


def test_a_model_held_to_a_schema_does_not_think(bench: Bench) -> None:
    sequence = chat(bench, json_schema='{"type": "object"}')
    assert bench.prompt(sequence).endswith("<think></think>")
    assert output_of(bench, sequence, '{"a": "<think>"}') == Output('{"a": "<think>"}')


@pytest.mark.parametrize("text", ["What time is it?", "think first"])
def test_a_call_that_must_be_made_is_made_by_whatever_model(bench: Bench, text: str) -> None:
    zone = {
        "$defs": {"Zone": {"enum": ["UTC", "CET"]}},
        "type": "object",
        "additionalProperties": False,
    }
    parameters = zone | {"properties": {"zone": {"$ref": "#/$defs/Zone"}}, "required": ["zone"]}
    tools = tuple(
        {"type": "function", "function": {"name": name, "parameters": parameters}}
        for name in ("a", "b")
    )
    schema = settled(json.loads(calls_of(tools, "required")))
    job = chat(
        bench, Message(role="user", content=text), tools=tools, json_schema=schema, must_call=True
    ).job
    # A random model would never think to the end.
    sequence = Sequence(
        job, emitted=bench.tokenizer.think_end_tokens if text == "think first" else ()
    )
    bench.start(sequence)
    events = []
    while bench.backend.sequences():
        for token in bench.backend.step().tokens:
            events += [] if token.end == "stop" else sequence.accept(token.token_id)
    output = Output.together(
        event for event in [*events, *sequence.finish("stop")] if isinstance(event, Delta)
    )
    assert (output.text, output.reasoning) == ("", "")
    (call,) = output.tool_calls
    assert call.name in ("a", "b")
    assert json.loads(call.arguments)["zone"] in ("UTC", "CET")


@pytest.mark.parametrize("in_a_batch", [False, True])
def test_a_required_call_that_is_cut_off_is_still_a_call(bench: Bench, in_a_batch: bool) -> None:
    job = bench.chat(
        "What time is it?", max_tokens=60, temperature=0.0, repetition_penalty=1.0
    ).job.model_copy(update={"form": _long_required_call()})
    sequence = _batch_sequence(job) if in_a_batch else Sequence(job)
    output = _output_at_the_limit(bench, sequence)
    if isinstance(sequence, BatchSequence):
        result = sequence.result()
        output = Output(result.text, result.reasoning, result.tool_calls)
        assert result.finish_reason == "length"
    assert (output.text, output.reasoning) == ("", "")
    (call,) = output.tool_calls
    assert call.name == "clock"
    assert call.arguments.startswith('{"zone": "')
    assert not call.arguments.endswith("}")


def _long_required_call() -> OutputFormat:
    """A required call whose arguments are longer than any limit of tokens here."""
    zone = {
        "type": "object",
        "properties": {"zone": {"type": "string", "minLength": 300}},
        "required": ["zone"],
    }
    tools = ({"type": "function", "function": {"name": "clock", "parameters": zone}},)
    schema = settled(json.loads(calls_of(tools, "required")))
    return OutputFormat(separate=True, tools=tools, json_schema=schema, must_call=True)


def _batch_sequence(job: ChatJob) -> BatchSequence:
    """A job's chat as a line of a batch."""
    names = ("model_id", "model_revision", "messages", "sampling", "form")
    fields = {name: getattr(job, name) for name in names}
    line = BatchLine.model_validate({"number": 1, "custom_id": "c", **fields})
    return BatchSequence(line, BatchSlice(job_id="s", batch_id="b", owner="o", number=0), 1)


def _output_at_the_limit(bench: Bench, sequence: Sequence) -> Output:
    """What a sequence has given when its limit of tokens is reached."""
    bench.start(sequence)
    events: list[LoggedEvent] = []
    while bench.backend.sequences():
        for token in bench.backend.step().tokens:
            events += token.sequence.accept(token.token_id)
    events += sequence.finish("length")
    return Output.together(event for event in events if isinstance(event, Delta))


def test_a_raw_prompt_is_the_text_alone(bench: Bench) -> None:
    sequence = chat(bench, Message(role="user", content="Once upon"), raw=True, separate=False)
    assert bench.prompt(sequence) == "Once upon"


@pytest.mark.parametrize("where", ["tokenizer_config.json", "chat_template.jinja"])
def test_the_template_is_found_wherever_models_keep_it(tmp_path: Path, where: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    text = "{% if tools %}{% endif %}"
    (tmp_path / where).write_text(
        json.dumps({"chat_template": text}) if where.endswith("json") else text
    )
    described = describe(tmp_path)
    assert described is not None
    assert described.takes_tools
