"""The formats that mlx_lm reads: found by its names, and a mark inside an argument is part of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from tests.mlx.formats.format_support import calls_of, said
from tests.mlx.formats.template_support import Family, save, with_tools
from worker.backends.text.formats.chat_format import ChatFormat, chat_format
from worker.models.folders import describe

ZONE = "a {0} b"
FORMATS = {
    "json_tools": (
        "<tool_call>{{ tool_call.name }}",
        '<tool_call>\n{"name": "clock", "arguments": {"zone": "ZONE"}}\n</tool_call>',
        "</tool_call>",
    ),
    "qwen3_coder": (
        "<tool_call>\n<function=",
        "<tool_call>\n<function=clock>\n<parameter=zone>\nZONE\n</parameter>\n</function>\n</tool_call>",
        "</tool_call>",
    ),
    "gemma4": (
        "<|tool_call><tool_call|>",
        '<|tool_call>call:clock{zone:<|"|>ZONE<|"|>}<tool_call|>',
        "<tool_call|>",
    ),
    "function_gemma": (
        "<start_function_call>",
        "<start_function_call>call:clock{zone:<escape>ZONE<escape>}<end_function_call>",
        "<end_function_call>",
    ),
    "glm47": (
        "<arg_key>",
        "<tool_call>clock\n<arg_key>zone</arg_key>\n<arg_value>ZONE</arg_value>\n</tool_call>",
        "</tool_call>",
    ),
    "kimi_k2": (
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.clock:0"
        '<|tool_call_argument_begin|>{"zone": "ZONE"}<|tool_call_end|><|tool_calls_section_end|>',
        "<|tool_calls_section_end|>",
    ),
    "minimax_m2": (
        "<minimax:tool_call>",
        '<minimax:tool_call>\n<invoke name="clock">\n<parameter name="zone">ZONE</parameter>\n'
        "</invoke>\n</minimax:tool_call>",
        "</minimax:tool_call>",
    ),
    "longcat": (
        "<longcat_tool_call>",
        "<longcat_tool_call>clock\n<longcat_arg_key>zone</longcat_arg_key>\n"
        "<longcat_arg_value>ZONE</longcat_arg_value>\n</longcat_tool_call>",
        "</longcat_tool_call>",
    ),
    "pythonic": (
        "<|tool_list_start|>",
        '<|tool_call_start|>[clock(zone="ZONE")]<|tool_call_end|>',
        "<|tool_call_end|>",
    ),
    "minicpm5": (
        '<function name="x"><param name="y">',
        '<function name="clock"><param name="zone"><![CDATA[ZONE]]></param></function>',
        "<function name=",
    ),
}


def form_of(folder: Path, marks: str, **config: Any) -> ChatFormat:
    save(folder, Family(with_tools(marks), None))
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    described = describe(folder)
    assert described is not None
    assert described.takes_tools
    return chat_format(load_tokenizer(folder))


@pytest.mark.parametrize("name", FORMATS)
def test_a_librarys_format_is_read_by_its_parser(tmp_path: Path, name: str) -> None:
    marks, written, mark = FORMATS[name]
    form = form_of(tmp_path, marks)
    for zone in ("UTC", ZONE.format(mark)):
        call = written.replace("ZONE", zone)
        told = said(form, f"One moment.{call}{call}Done.")
        assert calls_of(told) == [("clock", {"zone": zone})] * 2
        assert (told.text, told.reasoning) == ("One moment.Done.", "")


def test_a_parser_that_the_tokeniser_names_is_taken(tmp_path: Path) -> None:
    form = form_of(tmp_path, "", tool_parser_type="laguna")
    call = "<tool_call>clock<arg_key>zone</arg_key><arg_value>UTC</arg_value></tool_call>"
    assert calls_of(said(form, call)) == [("clock", {"zone": "UTC"})]


def test_muse_sparks_own_transitions_lead_to_its_calls(tmp_path: Path) -> None:
    save(tmp_path, Family(with_tools("<atem:function_calls>"), None))
    (tmp_path / "config.json").write_text('{"model_type": "muse_spark"}')
    form = chat_format(load_tokenizer(tmp_path))
    call = (
        "to=self<|message|>Hm.<|eom|><|start|>assistant to=clock<|message|><atem:function_calls>"
        '<atem:invoke name="clock"><atem:parameter name="zone">UTC</atem:parameter></atem:invoke>'
        "</atem:function_calls>"
    )
    told = said(form, call)
    assert (told.text, told.reasoning) == ("", "Hm.")
    assert calls_of(told) == [("clock", {"zone": "UTC"})]
