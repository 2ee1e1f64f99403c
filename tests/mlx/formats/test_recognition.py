"""Which format a model has is told from its template and vocabulary, alike before and after it
is loaded; its marks are text in what a client sends."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests.mlx.formats.format_support import TOOLS, calls_of, chat
from tests.mlx.formats.template_support import (
    FAMILIES,
    Family,
    renderer_of,
    save,
    tokenizer_of,
    with_tools,
)
from wire.messages import Message, OutputFormat
from worker.backends.prompting.text import LmText
from worker.backends.text.decoder import Decoders
from worker.backends.text.formats import tagged_calls
from worker.backends.text.formats.chat_format import chat_format
from worker.errors import WorkerError
from worker.models.folders import describe
from worker.text_decoder import Output

every = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


@every
def test_the_models_list_promises_tools_where_a_request_may_have_them(
    tmp_path: Path, family: Family
) -> None:
    tokenizer = tokenizer_of(tmp_path, family)
    found = chat_format(tokenizer)
    assert found.tools is family.tools
    assert (found.thinking and (found.thinking.start, found.thinking.end)) == family.thinking
    described = describe(tmp_path)
    assert described is not None
    assert described.takes_tools == (family.tools is not None)
    text, form = LmText(tokenizer, 8192), chat().form
    asked = [Message(role="user", content="What time is it?")]
    if described.takes_tools:
        assert "zone" in str(tokenizer.decode(text.encode(asked, form)))
    else:
        with pytest.raises(WorkerError, match="no way to call tools"):
            text.encode(asked, form)


def test_a_renderer_in_python_takes_tools_and_gets_its_arguments_as_text(tmp_path: Path) -> None:
    tokenizer = renderer_of(tmp_path, "deepseek_v32")
    described = describe(tmp_path)
    assert described is not None
    assert described.takes_tools
    assert chat_format(tokenizer).tools is tagged_calls.DSML_FORMAT
    turns = [
        Message(role="system", content="Be brief."),
        Message(role="user", content="What time is it?"),
        Message.model_validate(
            {
                "role": "assistant",
                "content": "",
                "reasoning": "A clock tells.",
                "tool_calls": [{"id": "c", "name": "clock", "arguments": '{"zone": "UTC"}'}],
            }
        ),
        Message(role="tool", content="noon", tool_call_id="c"),
    ]
    prompt = tokenizer.decode(LmText(tokenizer, 8192).encode(turns, chat().form))
    for words in ("Be brief.", "A clock tells.", '"zone" string="true">UTC</', "<result>noon"):
        assert words in prompt
    assert "<｜User｜>What time is it?<｜Assistant｜><think>" in prompt
    off = OutputFormat(template_options='{"enable_thinking": false}')
    assert "<｜Assistant｜></think>" in tokenizer.decode(
        LmText(tokenizer, 8192).encode(turns[:2], off)
    )
    with pytest.raises(WorkerError, match="no option thinking"):
        LmText(tokenizer, 8192).encode(turns, OutputFormat(template_options='{"thinking": true}'))


@pytest.mark.parametrize("marks", ["[TOOL_CALLS]", "<arg_key>", ""])
def test_an_unloaded_models_tokeniser_is_freed(tmp_path: Path, marks: str) -> None:
    tokenizer = tokenizer_of(tmp_path, Family(with_tools(marks), None))
    assert chat_format(tokenizer) is chat_format(tokenizer)
    kept = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert kept() is None


def test_a_vision_models_own_template_file_is_read_and_a_text_models_is_not(tmp_path: Path) -> None:
    save(tmp_path, Family(None, None))
    (tmp_path / "chat_template.json").write_text('{"chat_template": "{{ tools }}"}')
    for config, takes_tools in (("{}", False), ('{"vision_config": {}}', True)):
        (tmp_path / "config.json").write_text(config)
        described = describe(tmp_path)
        assert described is not None
        assert described.takes_tools == takes_tools


def said(tokenizer: Any, text: str, job: Any = None) -> Output:
    """What a reader gets when a model generates a text's tokens."""
    job = chat() if job is None else job
    decoder = Decoders(tokenizer).of(job, tokenizer.encode("x", add_special_tokens=False))
    pieces = [decoder.add(token) for token in tokenizer.encode(text, add_special_tokens=False)]
    return Output.together([*pieces, decoder.finish()])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mistral, by vocabulary", '[TOOL_CALLS]clock[ARGS]{"zone": "UTC"}'),
        ("magistral", '[THINK]Hm.[/THINK][TOOL_CALLS][{"name": "clock", "arguments": {"zone": "UTC"}}]'),
        (
            "gpt-oss",
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary "
            'to=functions.clock <|constrain|>json<|message|>{"zone": "UTC"}',
        ),
        ("llama 3", '{"name": "clock", "parameters": {"zone": "UTC"}}'),
        ("llama 4", "<|python_start|>[clock(zone='UTC')]<|python_end|>"),
        ("deepseek", '<think>Hm.</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>clock<｜tool▁sep｜>{"zone": "UTC"}'),
        (
            "command",
            "<|START_THINKING|>Hm.<|END_THINKING|><|START_ACTION|>"
            '[{"tool_name": "clock", "parameters": {"zone": "UTC"}}]<|END_ACTION|>',
        ),
        ("phi 4 mini", '<|tool_call|>[{"name": "clock", "arguments": {"zone": "UTC"}}]'),
    ],
)  # fmt: skip
def test_a_call_made_of_control_tokens_is_read(tmp_path: Path, name: str, text: str) -> None:
    told = said(tokenizer_of(tmp_path, FAMILIES[name]), text)
    assert (told.text, calls_of(told)) == ("", [("clock", {"zone": "UTC"})])
    assert told.reasoning == ("Hm." if "Hm." in text else "")


def test_marks_around_a_text_are_no_text_with_and_without_tools(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, FAMILIES["command"])
    for tools in (TOOLS, ()):
        job = chat(tools=tools)
        assert said(tokenizer, "<|START_RESPONSE|>Noon.<|END_RESPONSE|>", job) == Output("Noon.")


@every
def test_a_formats_marks_are_text_in_what_a_client_sends(tmp_path: Path, family: Family) -> None:
    tokenizer = tokenizer_of(tmp_path, family)
    text = LmText(tokenizer, 8192)
    form = chat(tools=TOOLS if family.tools else ()).form
    marks = {tokenizer.convert_tokens_to_ids(mark) for mark in family.tokens}

    def marked(content: str) -> list[int]:
        ids = text.encode([Message(role="user", content=content)], form)
        assert f"{content}" in tokenizer.decode(ids)
        return [token for token in ids if token in marks]

    for mark in family.tokens:
        assert marked(f"a {mark} b") == marked("a b")
