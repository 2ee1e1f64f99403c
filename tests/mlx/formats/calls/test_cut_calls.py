"""Calls told in pieces that have no end or turn out to be none, and calls that have to be made."""

from __future__ import annotations

import json

import pytest

from tests.mlx.formats.calls.test_call_pieces import EVERY, in_pieces
from tests.mlx.formats.format_support import TOOLS, calls_of, chat, joined, of, parser_of
from wire.messages import ChatJob, Failed, Finished, FinishReason, OutputFormat, whole_calls
from worker.backends.echo_decoder import script_decoder
from worker.backends.echo_script import FIRST, say_in
from worker.backends.text.formats import json_calls
from worker.backends.text.formats.chat_format import ChatFormat
from worker.sequence import Sequence
from worker.text_decoder import Output

BROKEN = "[TOOL_CALLS]clock[ARGS]{x}"
CUT = '[TOOL_CALLS]clock[ARGS]{"zone": "UT'
REQUIRED = [("clock", {"zone": "é"}), ("write", {"text": "a\n"})]


def scripted(text: str, *, call_pieces: bool = True) -> Sequence:
    """A chat of a model of Mistral's format that has written a text."""
    job = chat()
    turn = job.messages[0].model_copy(update={"content": say_in("mistral") + text})
    form = job.form.model_copy(update={"call_pieces": call_pieces})
    sequence = Sequence(job.model_copy(update={"messages": (turn,), "form": form}))
    sequence.begin([1], script_decoder(sequence.job))
    for character in text:
        if not sequence.stopped_by_text:
            sequence.accept(FIRST + ord(character))
    return sequence


@pytest.mark.parametrize("name", EVERY)
def test_a_call_that_is_cut_anywhere_is_told_as_far_as_it_goes_or_text(name: str) -> None:
    case = EVERY[name]
    written = case.write([("write", {"text": "one\ntwo", "count": 3, "other": "x"})])
    (whole,) = whole_calls(in_pieces(case.form, [written])[0].tool_calls)
    for cut in range(0, len(written), 3):
        told, is_open = in_pieces(case.form, list(written[:cut]))
        calls = whole_calls(told.tool_calls)
        assert not (is_open and not calls)
        for call in calls:
            assert (call.id, call.name) == (whole.id, whole.name)
            assert whole.arguments.startswith(call.arguments)
            assert is_open or call.arguments == whole.arguments


@pytest.mark.parametrize("text", [BROKEN, BROKEN + " and so on"])
def test_a_call_that_turns_out_unreadable_ends_its_answer(text: str) -> None:
    sequence = scripted(text)
    assert sequence.stopped_by_text
    (end,) = sequence.finish("stop")
    assert isinstance(end, Failed)
    assert (end.code, end.usage.completion_tokens) == ("tool_call_unreadable", len(BROKEN))


def test_told_at_its_end_an_unreadable_call_is_text() -> None:
    sequence = scripted(BROKEN, call_pieces=False)
    *_, end = sequence.finish("stop")
    assert isinstance(end, Finished)


@pytest.mark.parametrize("reason", ["length", "cancelled"])
def test_an_answer_that_is_cut_in_a_call_ends_well(reason: FinishReason) -> None:
    (end,) = scripted(CUT).finish(reason)
    assert isinstance(end, Finished)
    assert end.finish_reason == reason


def test_a_model_that_stops_in_a_call_has_failed() -> None:
    (end,) = scripted(CUT).finish("stop")
    assert isinstance(end, Failed)
    assert end.code == "tool_call_unreadable"


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Anna", "arguments": {"zone": 1}}',
        '{"name": "clo", "arguments": {"zone": "UTC"}}',
        '[{"name": "Anna"}]',
        "[12, 13]",
        '{"type": "circle", "name": "cloc"}',
    ],
)
def test_json_that_calls_no_tool_is_text(text: str) -> None:
    for texts in (list(text), [text]):
        assert in_pieces(of(json_calls.UNMARKED), texts) == (Output(text), False)


def required(schema: str = "{}") -> ChatJob:
    job = chat()
    form = OutputFormat(separate=True, tools=TOOLS, json_schema=schema, must_call=True)
    return job.model_copy(update={"form": form})


@pytest.mark.parametrize("several", [False, True])
def test_calls_that_have_to_be_made_are_told_in_pieces(several: bool) -> None:
    calls = [{"name": name, "arguments": given} for name, given in REQUIRED]
    text = json.dumps(calls if several else calls[0], ensure_ascii=False)
    whole = parser_of(ChatFormat(), required())
    expected = Output.together([whole.add(text), whole.finish()])
    assert calls_of(expected) == REQUIRED[: 2 if several else 1]
    for cut in range(len(text) + 1):
        told = []
        for pieces in (True, False):
            parser = parser_of(ChatFormat(), required(), call_pieces=pieces)
            said = [parser.add(character) for character in text[:cut]]
            told.append(joined(Output.together([*said, parser.finish()])))
            assert not parser.has_open_call
        assert told[0] == told[1]
    assert told[0] == joined(expected)
    parser = parser_of(ChatFormat(), required(), call_pieces=True)
    early = [parser.add(character) for character in text[: text.index("é")]]
    (call,) = whole_calls(Output.together(early).tool_calls)
    assert (call.name, call.arguments) == ("clock", '{"zone": "')


@pytest.mark.parametrize("name", EVERY)
def test_behind_much_that_is_no_call_a_call_is_told_at_its_end(name: str) -> None:
    """What could be its beginning is not looked through with each token for ever."""
    case = EVERY[name]
    written = case.write([("write", {"text": "one"})])
    padded = written.replace("write", "write" * 500, 1)
    for texts in (list(padded), [padded]):
        told, is_open = in_pieces(case.form, texts)
        whole = parser_of(case.form)
        expected = Output.together([whole.add(padded), whole.finish()])
        assert (joined(told), is_open) == (joined(expected), False)
