"""Tools for a model whose template has no place for them: told in its prompt, with calls held to
their schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from api.openai.tools import calls_of
from scripts.training.random_text_model import SMALL
from tests.mlx.conftest import Bench, bench_of_template
from tests.support.paths import ROOT
from tests.support.schema_support import settled
from wire.messages import Delta, Message, OutputFormat, ToolCall
from wire.model_registry import ModelRecord
from worker.backends.text.formats.prompt_tools import with_tools
from worker.models.folders import describe
from worker.sequence import Sequence
from worker.text_decoder import Output

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CALL = ToolCall(id="c", name="weather", arguments='{"city": "Zürich"}')
WRITTEN = '<tool_call>{"name": "weather", "arguments": {"city": "Zürich"}}</tool_call>'
QUESTION = Message(role="user", content="Is it cold?")
TURNS = (
    Message(role="system", content="Be brief."),
    QUESTION,
    Message(role="assistant", content="I look.", tool_calls=(CALL, CALL)),
    Message(role="tool", content="7 degrees", tool_call_id="c", name="weather"),
    Message(role="tool", content="8 degrees", tool_call_id="d"),
    Message(role="user", content="And?"),
)
NO_SYSTEM = """\
{%- for m in messages -%}
{%- if (m.role == "user") != (loop.index0 % 2 == 0) -%}{{ raise_exception("Roles alternate.") }}
{%- endif -%}<{{ m.role }}>{{ m.content }}
{% endfor -%}"""


def held(tools: tuple[dict[str, Any], ...] = (WEATHER,), **form: Any) -> OutputFormat:
    schema = settled(json.loads(calls_of(tools, None)))
    return OutputFormat(
        separate=True, tools=tools, prompt_tools=True, **{"json_schema": schema, **form}
    )


def chat(bench: Bench, form: OutputFormat, *messages: Message, **sampling: Any) -> Sequence:
    asked = bench.chat(list(messages or (QUESTION,)), **sampling).job
    sequence = Sequence(asked.model_copy(update={"form": form}))
    bench.backend.prepare(sequence)
    return sequence


def test_calls_and_results_are_told_in_turns_that_alternate() -> None:
    told = with_tools(TURNS, [WEATHER], takes_system=True)
    assert [message.role for message in told] == ["system", "user", "assistant", "user"]
    assert told[0].text().startswith("Be brief.\n")
    assert json.dumps(WEATHER["function"]) in told[0].text().splitlines()
    assert told[2].text() == f"I look.\n{WRITTEN}\n{WRITTEN}"
    assert told[3].text() == (
        "<tool_response>weather: 7 degrees</tool_response>\n"
        "<tool_response>8 degrees</tool_response>\nAnd?"
    )
    assert not any(message.tool_calls or message.tool_call_id for message in told)


def test_a_prompt_tells_the_tools_in_the_words_of_its_template(record: ModelRecord) -> None:
    bench = Bench(record)
    text = bench.prompt(chat(bench, held(), *TURNS))
    assert json.dumps(WEATHER["function"]) in text
    assert WRITTEN in text
    assert "8 degrees</tool_response>\nAnd?" in text


def test_a_template_without_system_messages_gets_the_tools_with_the_first_turn(
    tmp_path: Path,
) -> None:
    bench = bench_of_template(tmp_path / "plain", NO_SYSTEM)
    text = bench.prompt(chat(bench, held(), *TURNS[1:]))
    assert text.startswith("<user>You can call these tools")
    assert "\nIs it cold?\n<assistant>I look." in text


def test_a_call_is_held_to_its_schema_and_text_is_free(record: ModelRecord) -> None:
    bench = Bench(record)
    sequence = chat(bench, held())
    encode = bench.tokenizer.encode
    for token in encode("I look <tool at it. <tool_call>", add_special_tokens=False):
        assert allows(sequence, token)
        sequence.constraint.accept(token)  # type: ignore[union-attr]
    assert not allows(sequence, *encode("x", add_special_tokens=False))
    for token in encode('{"name": "', add_special_tokens=False):
        assert allows(sequence, token)
        sequence.constraint.accept(token)  # type: ignore[union-attr]
    assert not allows(sequence, *encode("c", add_special_tokens=False))
    # Where a schema leaves no choice, only the tokeniser's own token may come.
    assert allows(sequence, encode("weather", add_special_tokens=False)[0])


def allows(sequence: Sequence, token: int) -> bool:
    mask = np.zeros(SMALL.vocabulary, dtype=bool)
    sequence.constraint.fill_mask(mask)  # type: ignore[union-attr]
    return bool(mask[token])


def test_calls_are_told_apart_from_the_text(record: ModelRecord) -> None:
    bench = Bench(record)
    sequence = chat(bench, held())
    text = f"I look. {WRITTEN}\n{WRITTEN} Done."
    ids = bench.tokenizer.encode(text, add_special_tokens=False)
    events = [event for token in ids for event in sequence.accept(token)]
    output = Output.together(
        event for event in [*events, *sequence.finish("stop")] if isinstance(event, Delta)
    )
    assert "".join(output.text.split()) == "Ilook.Done."
    assert [(call.name, json.loads(call.arguments)) for call in output.tool_calls] == [
        ("weather", {"city": "Zürich"})
    ] * 2


def test_a_random_model_writes_whole_calls_or_text(record: ModelRecord) -> None:
    """Whatever it says, nothing between the marks is other than a call."""
    bench = Bench(record)
    starts = bench.tokenizer.encode("<tool_call>", add_special_tokens=False)
    job = chat(bench, held(), max_tokens=200, temperature=1.0).job
    sequence = Sequence(job, emitted=tuple(starts))
    bench.start(sequence)
    bench.run()
    said = bench.tokenizer.decode([*starts, *sequence.generated])
    beginning = '<tool_call>{"name": "weather", "arguments": {"city": "'
    assert "".join(said.split()).startswith("".join(beginning.split()))


def test_a_call_that_must_be_made_is_made(record: ModelRecord) -> None:
    bench = Bench(record)
    sequence = chat(bench, held(must_call=True), max_tokens=120, temperature=0.0)
    bench.backend.add(sequence)
    bench.run()
    (call,) = Output.together(
        event for event in sequence.finish("length") if isinstance(event, Delta)
    ).tool_calls
    assert call.name == "weather"


def test_a_vision_model_is_told_its_tools_too() -> None:
    described = describe(ROOT / "worker" / "demo_models" / "vision")
    assert described is not None
    assert not described.takes_tools
    bench = Bench(described)
    sequence = chat(bench, held(), *TURNS)
    text = bench.prompt(sequence)
    assert json.dumps(WEATHER["function"]) in text
    assert WRITTEN in text
