"""Calls that are told while they are written: whatever a model writes, in every format, the pieces
are the call that is read at its end, and they come early."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.mlx.formats.calls.library_cases import WRITERS, form_of
from tests.mlx.formats.format_support import Call, joined, of, parser_of
from tests.mlx.formats.test_tool_formats import CASES, Case, each
from wire.messages import whole_calls
from worker.backends.text.formats import harmony, json_calls, tagged_calls
from worker.backends.text.formats.chat_format import ChatFormat
from worker.text_decoder import Output

EVERY = CASES | {
    name: Case(form_of(name), each(write), "</tool_call>") for name, write in WRITERS.items()
}
every = pytest.mark.parametrize("name", EVERY)
ROUNDS = 25
PARTS = (
    *"\"\\'\n\t{}[](),:;<>=/ é",
    *("word", "\\n", '\\"', "😀", "日本", "null", "None", "true", "12", "</", "```", "<think>"),
    *('{"name": "clock"}', "<tool_call>", "]]>", "\r\n", "  "),
)
BY_ARGUMENT = {"llama 4", "llama 4, tagged", "gemma4", "function_gemma", "pythonic"}
"""Formats whose arguments are told once each is complete."""
AT_THE_END = {"minimax m3"}
"""Formats whose arguments are told at the end of a call."""
LONG = "".join(f"line {number} of a long text, with words\n" for number in range(20))


def random_text(chance: random.Random, mark: str) -> str:
    return "".join(chance.choice((*PARTS, mark)) for _ in range(chance.randrange(12)))


def random_call(chance: random.Random, mark: str) -> Call:
    if chance.random() < 0.3:
        return "clock", {} if chance.random() < 0.5 else {"zone": random_text(chance, mark)}
    nested = {"a": [chance.randrange(99), random_text(chance, ""), None, {"b": {}}], "c": 1.5}
    given: dict[str, Any] = {
        "text": random_text(chance, mark),
        "count": chance.randrange(-9, 10**6),
        "nested": nested,
        "other": random_text(chance, mark),
    }
    kept = chance.sample(list(given), chance.randrange(1, 5))
    return "write", {key: given[key] for key in kept}


def in_pieces(form: ChatFormat, texts: list[str]) -> tuple[Output, bool]:
    """What is told of an answer, and whether a call of it can't be read."""
    parser = parser_of(form, call_pieces=True)
    told = [parser.add(text) for text in texts]
    if not parser.stopped:
        told.append(parser.finish())
    return Output.together(told), parser.has_open_call


def split(chance: random.Random, text: str) -> list[str]:
    most, texts = chance.choice((1, 3, 12, 200)), []
    while text:
        size = chance.randrange(1, most + 1)
        texts.append(text[:size])
        text = text[size:]
    return texts


@every
def test_the_pieces_of_any_calls_are_the_calls_read_at_their_end(name: str) -> None:
    case, chance, read = EVERY[name], random.Random(name), 0
    for _ in range(ROUNDS):
        written = case.write(
            [random_call(chance, case.mark) for _ in range(chance.randrange(1, 4))]
        )
        whole = parser_of(case.form)
        expected = joined(Output.together([whole.add(written), whole.finish()]))
        for _ in range(3):
            told, unreadable = in_pieces(case.form, split(chance, written))
            if unreadable:  # Then it wasn't readable whole, either.
                assert expected[0], written
                continue
            assert joined(told) == expected, written
            read += bool(expected[2])
    assert read > ROUNDS


@every
def test_the_same_pieces_come_of_a_call_however_far_it_was_told_before(name: str) -> None:
    case = EVERY[name]
    written = case.write([("write", {"text": 'a "b"\n{é}', "count": 3})])
    whole = parser_of(case.form, call_pieces=True)
    pieces = [whole.add(character) for character in written] + [whole.finish()]
    assert not whole.has_open_call
    for cut in range(len(written)):
        again = parser_of(case.form, call_pieces=True)
        for character in written[:cut]:
            again.add(character)
        assert [again.add(c) for c in written[cut:]] + [again.finish()] == pieces[cut:]


@every
def test_a_call_is_told_while_it_is_written(name: str) -> None:
    case = EVERY[name]
    written = case.write([("write", {"text": LONG, "count": 3})])
    parser = parser_of(case.form, call_pieces=True)
    middle = len(written) // 2
    told = Output.together([parser.add(character) for character in written[:middle]])
    (call,) = whole_calls(told.tool_calls)
    assert call.name == "write"
    if name in AT_THE_END | BY_ARGUMENT:
        assert call.arguments == ""
        return
    text = json.loads(call.arguments + '"}')["text"]
    assert LONG.startswith(text)
    assert middle - written.index(LONG[:10]) - 60 < len(text) + text.count("\n")


@pytest.mark.parametrize("name", sorted(BY_ARGUMENT))
def test_arguments_that_are_no_tags_are_told_one_by_one(name: str) -> None:
    case = EVERY[name]
    written = case.write([("write", {"text": "short", "other": LONG})])
    parser = parser_of(case.form, call_pieces=True)
    told = Output.together([parser.add(c) for c in written[: len(written) // 2]])
    (call,) = whole_calls(told.tool_calls)
    assert (call.name, call.arguments) == ("write", '{"text": "short"')


JSON_TEXTS = (
    '{"zone":"UTC",  "n": 1.50}',
    '{\n  "zone": "\\u00e9\\ud83d\\ude00 \\/ é",\n  "list": [1, 2 ,3]\n}',
    '{"a": {"b": "}"}, "c": []}',
    "{}",
    "{ }",
)


@pytest.mark.parametrize("arguments", JSON_TEXTS)
@pytest.mark.parametrize(
    ("form", "before", "after"),
    [
        (of(json_calls.HERMES), '<tool_call>{"name": "clock", "arguments": ', "}</tool_call>"),
        (of(json_calls.HERMES), '<tool_call>{"arguments": ', ', "name": "clock"}</tool_call>'),
        (
            of(json_calls.HERMES),
            '<tool_call>{"type":"function","function":{"name":"clock","parameters":',
            "}}</tool_call>",
        ),
        (of(json_calls.MISTRAL), '[TOOL_CALLS][{"name":"clock","arguments":', "}]"),
        (of(json_calls.MISTRAL), "[TOOL_CALLS]clock[ARGS]", ""),
        (of(json_calls.UNMARKED), '{"name": "clock", "parameters": ', "}"),
        (of(json_calls.UNMARKED), "<function=clock>", "</function>"),
        (
            of(tagged_calls.DEEPSEEK),
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>clock<｜tool▁sep｜>",
            "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        ),
        (
            ChatFormat.harmony(harmony.FORMAT),
            "<|channel|>commentary to=functions.clock<|message|>",
            "<|call|>",
        ),
        (form_of("json_tools"), '<tool_call>{"name": "clock", "arguments": ', "}</tool_call>"),
    ],
)
def test_arguments_in_json_are_told_as_they_were_written(
    form: ChatFormat, before: str, after: str, arguments: str
) -> None:
    for texts in (list(before + arguments + after), [before + arguments + after]):
        told, unreadable = in_pieces(form, texts)
        (call,) = whole_calls(told.tool_calls)
        assert (call.name, call.arguments, unreadable) == ("clock", arguments, False)


def test_a_line_break_in_a_string_of_json_is_escaped() -> None:
    call = '<tool_call>{"name": "clock", "arguments": {"zone": "a\nb\tc"}}</tool_call>'
    told, _ = in_pieces(of(json_calls.HERMES), list(call))
    assert whole_calls(told.tool_calls)[0].arguments == '{"zone": "a\\nb\\tc"}'


def test_arguments_as_a_string_of_json_are_told_as_the_object_in_it() -> None:
    inner = '{"zone": "\\"😀\\n", "n": [1]}'
    text = json.dumps(inner)
    for written in (text, json.dumps(inner, ensure_ascii=False)):
        call = f'<tool_call>{{"name": "clock", "arguments": {written}}}</tool_call>'
        for texts in (list(call), [call]):
            told, unreadable = in_pieces(of(json_calls.HERMES), texts)
            assert (whole_calls(told.tool_calls)[0].arguments, unreadable) == (inner, False)
        early, _ = in_pieces(of(json_calls.HERMES), [call[: call.index("[1]")]])
        assert whole_calls(early.tool_calls)[0].arguments == inner[: inner.index("[1]")]
