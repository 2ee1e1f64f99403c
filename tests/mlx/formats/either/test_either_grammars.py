"""The grammar of an answer that is either calls or held to a schema, for every format of calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.mlx.formats.calls.library_cases import WRITERS
from tests.mlx.formats.either.either_support import FORMS, MARKS, TOOLS, Speaker, check_said, form
from tests.mlx.formats.format_support import calls_of, of, tool
from tests.mlx.formats.test_tool_formats import CASES
from worker.backends.text.formats import harmony, json_calls
from worker.backends.text.formats.chat_format import ChatFormat
from worker.backends.text.formats.syntax import ToolFormat
from worker.errors import WorkerError

PARAMETERS = {t["function"]["name"]: t["function"]["parameters"] for t in TOOLS}
every = pytest.mark.parametrize("name", FORMS)
in_both = pytest.mark.parametrize("special", [MARKS, ()], ids=["special tokens", "texts"])
STEERED = {
    "harmony, recipient first",
    "llama 3, typed",
    "llama 3, custom",
    "llama 4",
    "llama 4, tagged",
    "mistral v11",
}
"""Other ways to write what the grammar lets a model write in one."""


def start_of(form_: ChatFormat) -> str:
    """What begins a call of a format."""
    if form_.is_harmony:
        return harmony.CALL
    assert form_.tools is not None
    starts = [mark for mark in form_.tools.syntaxes(list(TOOLS)) if mark]
    return starts[0] if form_.tools is not json_calls.UNMARKED else '{"name": "'


@every
@in_both
def test_what_begins_as_a_call_is_read_as_calls(
    tmp_path: Path, name: str, special: tuple[str, ...]
) -> None:
    speaker = Speaker(tmp_path, name, special, form())
    for seed in range(6):
        ids = speaker.write(start_of(FORMS[name]), seed)
        for call_pieces in (False, True):
            output, is_open = speaker.read(ids, call_pieces=call_pieces)
            assert (output.text, output.reasoning, is_open) == ("", "", False)
            assert output.tool_calls
        for called, given in calls_of(speaker.read(ids)[0]):
            assert set(PARAMETERS[called].get("required", ())) <= given.keys()


@every
@in_both
def test_what_does_not_is_held_to_the_schema(
    tmp_path: Path, name: str, special: tuple[str, ...]
) -> None:
    format_ = FORMS[name]
    speaker = Speaker(tmp_path, name, special, form())
    for seed in range(3):
        ids = speaker.write(format_.answer_start + '{"said', seed)
        output, _ = speaker.read(ids)
        check_said(output.text)
        assert not output.tool_calls


@every
def test_marks_in_the_answer_are_text(tmp_path: Path, name: str) -> None:
    format_ = FORMS[name]
    speaker = Speaker(tmp_path, name, (), form())
    answer = json.dumps({"said": start_of(format_), "level": 7}, ensure_ascii=False)
    assert speaker.allows(format_.answer_start + answer)
    output, _ = speaker.read(speaker.encode(format_.answer_start + answer))
    assert (output.text, output.tool_calls) == (answer, ())


@pytest.mark.parametrize("name", [name for name in CASES if name not in STEERED])
def test_calls_are_allowed_as_their_models_write_them(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    special = [mark for mark in MARKS if mark != "[ARGS]" or name == "mistral v13"]
    tools = (tool("write", text="string", count="integer"), tool("clock", zone="string"))
    speaker = Speaker(tmp_path, name, special, form(tools))
    given: list[tuple[str, dict[str, Any]]] = [("clock", {"zone": "Ö/UTC {x}"})]
    if not case.form.is_harmony:
        given.append(("write", {"text": 'She\nsaid "hi"', "count": 3}))
    said = case.write(given).removesuffix("<|call|>").removeprefix("<|start|>assistant")
    assert speaker.allows(said)
    assert calls_of(speaker.read(speaker.encode(said))[0]) == given
    assert not speaker.allows(case.write([("other", {})]))
    assert not speaker.allows(f"{said}Done.")
    assert not speaker.allows(f"Well. {said}")


@pytest.mark.parametrize("name", WRITERS)
def test_so_are_those_that_the_library_reads(tmp_path: Path, name: str) -> None:
    tools = (tool("write", text="string", count="integer"), tool("clock", zone="string"))
    speaker = Speaker(tmp_path, name, MARKS, form(tools))
    said = WRITERS[name]("write", {"text": "She said hi", "count": 3})
    assert speaker.allows(said)
    ((called, given),) = calls_of(speaker.read(speaker.encode(said))[0])
    assert (called, given["text"], int(given["count"])) == ("write", "She said hi", 3)
    assert not speaker.allows(WRITERS[name]("other", {"text": "x"}))
    assert not speaker.allows(f"{said}Done.")


UNKNOWN = of(ToolFormat(json_calls.HERMES.syntaxes))


@in_both
def test_of_an_unknown_format_anything_up_to_its_end_is_a_call(
    tmp_path: Path, special: tuple[str, ...]
) -> None:
    speaker = Speaker(tmp_path, "", special, form(), format_=UNKNOWN)
    said = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'
    assert speaker.allows(said)
    assert speaker.allows(f"{said}\n{said}")
    assert not speaker.allows(f"{said} Done.")
    assert not speaker.allows("<tool_call>")


@pytest.mark.parametrize("call_pieces", [False, True])
def test_what_begins_as_a_call_and_is_none_is_no_text(tmp_path: Path, call_pieces: bool) -> None:
    speaker = Speaker(tmp_path, "", MARKS, form(), format_=UNKNOWN)
    ids = speaker.encode("<tool_call>clock, please</tool_call>")
    output, is_open = speaker.read(ids, call_pieces=call_pieces)
    assert output == ("", "", ())
    assert is_open


@every
def test_a_call_that_is_cut_is_no_text(tmp_path: Path, name: str) -> None:
    speaker = Speaker(tmp_path, name, MARKS, form())
    ids = speaker.write(start_of(FORMS[name]), 0)
    for cut in range(1, len(ids), 5):
        output, _ = speaker.read(ids[:cut])
        # Before it can be told from the answer, one without a mark is either.
        assert output.text == "" or FORMS[name].tools is json_calls.UNMARKED


def test_an_answer_that_begins_as_an_unmarked_call_is_told_once_it_is_none(tmp_path: Path) -> None:
    named = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    speaker = Speaker(tmp_path, "llama 3", (), form(schema=named))
    for said, told in (('{"name": "wri', ""), ('{"name": "Wri', '{"name": "Wri')):
        assert "".join(piece.text for piece in speaker.pieces(speaker.encode(said))) == told
    for name, is_call in (("Writer", False), ("write", True)):
        whole = json.dumps({"name": name})
        assert speaker.allows(whole)
        output, _ = speaker.read(speaker.encode(whole))
        assert (output.text, bool(output.tool_calls)) == ("" if is_call else whole, is_call)


def test_a_format_without_a_mark_or_a_grammar_is_refused(tmp_path: Path) -> None:
    unmarked = ToolFormat(json_calls.UNMARKED.syntaxes)
    speaker = Speaker(tmp_path, "", MARKS, form(), format_=of(unmarked))
    with pytest.raises(WorkerError, match="This model marks no calls") as refused:
        speaker.constraint()
    assert (refused.value.code, refused.value.param) == ("unsupported", "tools")


NUMBER = {"properties": {"name": {"const": 5}, "arguments": {}}}


@pytest.mark.parametrize(
    "schema",
    ["{}", "[]", '{"anyOf": [{}], "x-guidance": {}}', json.dumps({"anyOf": [NUMBER]})],
)
def test_a_schema_of_calls_that_is_none_is_refused(tmp_path: Path, schema: str) -> None:
    asked = form().model_copy(update={"call_schema": schema})
    speaker = Speaker(tmp_path, "granite 4", MARKS, asked)
    with pytest.raises(WorkerError) as refused:
        speaker.constraint()
    assert refused.value.code == "invalid_schema"
