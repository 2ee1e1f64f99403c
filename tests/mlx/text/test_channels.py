"""Thinking, text and calls are separated whatever the pieces of the output: single characters, all
at once, cut off, malformed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.backends.text.output_parser import REASONING, TEXT, TOOL, OutputParser, OutputSyntax
from worker.text_decoder import Output

STYLE = OutputSyntax(
    {
        TEXT: [("<think>", REASONING), ("<tool_call>", TOOL)],
        REASONING: [("</think>", TEXT), ("<tool_call>", TOOL)],
        TOOL: [("</tool_call>", TEXT)],
    },
    tool_start="<tool_call>",
    parse=json.loads,
)
CALL = '<tool_call>\n{"name": "clock", "arguments": {"zone": "Ö\\n"}}\n</tool_call>'


def parsed(
    text: str, *, stop: tuple[str, ...] = (), size: int = 1, style: OutputSyntax = STYLE
) -> tuple[OutputParser, Output]:
    """The parser and the whole output of a text that comes in pieces of a size."""
    channels = OutputParser(style, stop, "job")
    pieces = [channels.add(text[i : i + size]) for i in range(0, len(text), size)]
    pieces.append(channels.finish())
    return channels, Output(
        "".join(piece.text for piece in pieces),
        "".join(piece.reasoning for piece in pieces),
        tuple(call for piece in pieces for call in piece.tool_calls),
    )


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_thinking_text_and_calls_are_parsed_whatever_the_pieces(size: int) -> None:
    _, all_of_it = parsed(f"<think>\nWhat time?\n</think>\n\nOne moment.{CALL}\n{CALL}", size=size)
    assert all_of_it.reasoning == "What time?\n"
    assert all_of_it.text == "One moment."
    assert [(call.name, json.loads(call.arguments)) for call in all_of_it.tool_calls] == [
        ("clock", {"zone": "Ö\n"})
    ] * 2
    first, second = all_of_it.tool_calls
    assert first.id != second.id
    assert len(first.id) == 9
    assert first.id.isalnum()


def test_a_prompt_that_has_opened_the_thinking_begins_with_it() -> None:
    _, all_of_it = parsed("Hm.\n</think>\nYes.", style=OutputSyntax(STYLE.transitions, REASONING))
    assert all_of_it == Output("Yes.", "Hm.\n")


def test_thinking_that_never_ends_is_thinking() -> None:
    assert parsed("<think>\nHm. </thin")[1] == Output(reasoning="Hm. </thin")


MUST = OutputSyntax({TOOL: []}, TOOL, parse=json.loads, must_call=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ('{"name": "clo', []),
        ('{"name": "cl\\"ock"', [('cl"ock', "")]),
        ('{"name": "clock", "argu', [("clock", "")]),
        ('{"name": "clock", "arguments": {"zone": "U', [("clock", '{"zone": "U')]),
        ('{"name": "clock", "arguments": {"zone": "U"}', [("clock", '{"zone": "U"}')]),
        ('{"name": "clock", "arguments": {"zone": "U"}}', [("clock", '{"zone": "U"}')]),
    ],
)
def test_a_call_that_had_to_be_made_and_was_cut_is_no_text(
    text: str, expected: list[tuple[str, str]]
) -> None:
    _, all_of_it = parsed(text, style=MUST)
    assert (all_of_it.text, all_of_it.reasoning) == ("", "")
    assert [(call.name, call.arguments) for call in all_of_it.tool_calls] == expected


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("stop", [("END",), ("nothing", "NDX", "END"), ("\n\nEND",)])
def test_the_text_before_a_stop_text_is_kept_to_the_character(
    size: int, stop: tuple[str, ...]
) -> None:
    channels, all_of_it = parsed("One EN, two EN END three", stop=stop, size=size)
    if "END" in stop:
        assert channels.stopped
        assert all_of_it.text == "One EN, two EN "
    else:
        assert all_of_it.text == "One EN, two EN END three"


def test_stop_texts_count_in_the_text_alone() -> None:
    channels, all_of_it = parsed(f"<think>a\nb</think>c{CALL}d\ne", stop=("\n",))
    assert channels.stopped
    assert (all_of_it.text, all_of_it.reasoning) == ("cd", "a\nb")
    assert len(all_of_it.tool_calls) == 1


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("least", range(12))
def test_a_stop_text_that_ends_too_early_is_text(size: int, least: int) -> None:
    """``least`` is how many pieces come before stop texts count."""
    text = "aENDbEND<think>ENDc</think>END.END"
    channels = OutputParser(STYLE, ("END",), "job", least)
    pieces = [channels.add(text[at : at + size]) for at in range(0, len(text), size)]
    pieces.append(channels.finish())
    said = Output.together(pieces)
    ends = [at for at in (1, 5, 27, 31) if (at + 2) // size >= least]
    assert channels.stopped is bool(ends)
    assert channels.stop_text == ("END" if ends else None)
    before = text[: ends[0]] if ends else text
    assert said.text == before.replace("<think>ENDc</think>", "")
    assert said.reasoning == ("ENDc" if "</think>" in before else "")


@pytest.mark.parametrize(
    "inside",
    [
        '{"name": "clock", "argum',
        "{}",
        "[]",
        '{"name": 7, "arguments": {}}',
        '{"name": "clock", "arguments": "x"}',
        "",
    ],
)
def test_a_call_that_is_none_is_text(inside: str) -> None:
    assert parsed(f"Well.<tool_call>{inside}</tool_call>")[1] == Output(f"Well.<tool_call>{inside}")
    assert parsed(f"Well.<tool_call>{inside}")[1] == Output(f"Well.<tool_call>{inside}")


def test_a_call_without_its_end_mark_is_read_at_the_end() -> None:
    assert len(parsed(CALL.removesuffix("</tool_call>"))[1].tool_calls) == 1


def test_several_calls_in_one_and_arguments_as_text_are_read() -> None:
    several: list[Any] = [{"name": "a", "arguments": '{"x": 1}'}, {"name": "b"}]
    calls = parsed(f"<tool_call>{json.dumps(several)}</tool_call>")[1].tool_calls
    assert [(call.name, call.arguments) for call in calls] == [("a", '{"x": 1}'), ("b", "{}")]


def test_an_answer_that_goes_on_after_a_crash_says_the_same() -> None:
    text = f"<think>Hm.</think>Yes.{CALL}No."
    whole = OutputParser(STYLE, (), "job")
    pieces = [whole.add(char) for char in text]
    for cut in range(len(text)):
        again = OutputParser(STYLE, (), "job")
        for char in text[:cut]:
            again.add(char)
        assert [again.add(char) for char in text[cut:]] == pieces[cut:]
