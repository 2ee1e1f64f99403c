"""What a model thinks is told from what it says, in every format that has marks for it."""

from __future__ import annotations

import pytest

from tests.mlx.formats.format_support import calls_of, chat, of, parser_of, said
from worker.backends.text.formats import harmony, json_calls, tagged_calls
from worker.backends.text.formats.chat_format import ChatFormat
from worker.backends.text.formats.syntax import ToolFormat
from worker.backends.text.harmony_history import split_answers
from worker.text_decoder import Output

HARMONY = ChatFormat.harmony(harmony.FORMAT)
CALL = '{"name": "clock", "arguments": {"zone": "UTC"}}'
CLOCK = [("clock", {"zone": "UTC"})]
ANALYSIS = "<|channel|>analysis<|message|>Hm.\n\nOK.<|end|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>It is noon.<|return|>"
COMMENTARY = "<|start|>assistant<|channel|>commentary<|message|>One moment.<|end|>"
FUNCTION = (
    "<|start|>assistant<|channel|>commentary to=functions.clock <|constrain|>json"
    '<|message|>{"zone": "UTC"}<|call|>'
)


@pytest.mark.parametrize(
    ("tools", "marks", "call"),
    [
        (json_calls.HERMES, ("<think>", "</think>"), f"<tool_call>{CALL}</tool_call>"),
        (json_calls.MISTRAL, ("[THINK]", "[/THINK]"), f"[TOOL_CALLS][{CALL}]"),
        (
            tagged_calls.SEED,
            ("<seed:think>", "</seed:think>"),
            "<seed:tool_call><function=clock><parameter=zone>UTC</parameter></function></seed:tool_call>",
        ),
        (
            json_calls.COHERE,
            ("<|START_THINKING|>", "<|END_THINKING|>"),
            '<|START_ACTION|>[{"tool_name": "clock", "parameters": {"zone": "UTC"}}]<|END_ACTION|>',
        ),
        (json_calls.NEMOTRON, ("<think>", "</think>"), f"<TOOLCALL>[{CALL}]</TOOLCALL>"),
        (json_calls.UNMARKED, ("<think>", "</think>"), CALL),
        (
            tagged_calls.DEEPSEEK,
            ("<think>", "</think>"),
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>clock<｜tool▁sep｜>{"zone": "UTC"}'
            "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        ),
    ],
)
def test_thinking_comes_before_a_call(tools: ToolFormat, marks: tuple[str, str], call: str) -> None:
    start, end = marks
    form = of(tools, marks)
    told = said(form, f"{start}\nHm.\n{end}\n\n{call}")
    assert (told.text, told.reasoning, calls_of(told)) == ("", "Hm.\n", CLOCK)
    # A template that begins the thinking.
    told = said(form, f"Hm.{end}{call}", opens_thinking=True)
    assert (told.text, told.reasoning, calls_of(told)) == ("", "Hm.", CLOCK)
    assert said(form, f"{start}Hm.{end}It is noon.", chat(tools=())) == Output("It is noon.", "Hm.")
    assert said(form, f"{start}Hm. {end[:3]}") == Output(reasoning=f"Hm. {end[:3]}")


def test_harmony_has_thinking_text_and_calls_in_channels() -> None:
    told = said(HARMONY, ANALYSIS + COMMENTARY + FUNCTION)
    assert (told.text, told.reasoning, calls_of(told)) == ("One moment.", "Hm.\n\nOK.", CLOCK)
    assert said(HARMONY, ANALYSIS + FINAL) == Output("It is noon.", "Hm.\n\nOK.")
    assert said(HARMONY, FINAL.removeprefix("<|start|>assistant")) == Output("It is noon.")


@pytest.mark.parametrize(
    "call",
    [
        '<|channel|>commentary to=functions.clock<|message|>{"zone": "UTC"}<|call|>',
        '<|channel|>analysis to=functions.clock code<|message|>{"zone": "UTC"}<|end|>',
        ' to=functions.clock<|channel|>commentary json<|message|>{"zone": "UTC"}',
        ' to=clock<|channel|>commentary <|constrain|>json<|message|>{"zone": "UTC"}',
    ],
)
def test_harmonys_calls_are_known_by_their_recipient(call: str) -> None:
    told = said(HARMONY, call)
    assert (told.text, told.reasoning, calls_of(told)) == ("", "", CLOCK)


def test_a_harmony_answer_that_is_cut_keeps_its_channels() -> None:
    whole = ANALYSIS + FINAL.removesuffix("<|return|>")
    for cut in range(len("<|channel|>"), len(whole)):
        told = said(HARMONY, whole[:cut])
        assert "Hm.\n\nOK.".startswith(told.reasoning.partition("<")[0])
        assert "It is noon.".startswith(told.text)


def test_a_harmony_answer_without_a_header_is_text() -> None:
    assert said(HARMONY, "It is noon.") == Output("It is noon.")
    assert said(HARMONY, "<|channel|>analy") == Output()


def test_a_schemas_answer_is_harmonys_final_text_or_the_call_alone() -> None:
    assert HARMONY.answer_start == "<|channel|>final<|message|>"
    job = chat(tools=())
    held = job.model_copy(update={"form": job.form.model_copy(update={"json_schema": "{}"})})
    assert said(HARMONY, '{"a": "<|end|>"}', held) == Output('{"a": "<|end|>"}')
    called = held.form.model_copy(update={"must_call": True})
    told = said(HARMONY, CALL, held.model_copy(update={"form": called}))
    assert (told.text, calls_of(told)) == ("", CLOCK)


def test_stop_texts_count_in_harmonys_final_text_alone() -> None:
    parser = parser_of(HARMONY, chat(stop=("noon", "Hm")))
    told = [parser.add(character) for character in ANALYSIS + FINAL]
    assert Output.together(told) == Output("It is ", "Hm.\n\nOK.")
    assert (parser.stopped, parser.stop_text) == (True, "noon")


def test_an_answer_in_harmony_that_comes_back_in_history_is_taken_apart() -> None:
    user = {"role": "user", "content": "What is <|message|>?"}
    answer = {"role": "assistant", "content": ANALYSIS + FINAL}
    told = {"role": "assistant", "content": "It is noon.", "reasoning_content": "Hm.\n\nOK."}
    assert split_answers([user, answer]) == [user, told]
    assert split_answers([told]) == [told]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"name": "Ann", "age": 7} is JSON', '{"name": "Ann", "age": 7} is JSON'),
        ('{"name": "nobody", "parameters": {}}', '{"name": "nobody", "parameters": {}}'),
        ("[1] A note. [clock]", "[1] A note. [clock]"),
        ("[clock](http://clock) shows", "[clock](http://clock) shows"),
        ('\n {"a": 1}', '\n {"a": 1}'),
        ("{", "{"),
        ("[clock(zone='a)] b", "[clock(zone='a)] b"),
        ("  \n", "  \n"),
        ('It is {"name": "clock", "parameters": {}}', 'It is {"name": "clock", "parameters": {}}'),
        ("[clocks(zone='x')]", "[clocks(zone='x')]"),
        ("<|python_tag|>print(1)", "print(1)"),
    ],
)
def test_text_that_only_looks_like_a_call_without_a_mark_is_text(text: str, told: str) -> None:
    form = of(json_calls.UNMARKED)
    assert said(form, text) == Output(told)
    ended = said(form, f"{text} END more", chat(stop=("END",)))
    assert ended == Output(f"{told} ")


def test_text_is_not_held_back_once_it_can_be_no_call() -> None:
    parser = parser_of(of(json_calls.UNMARKED))
    assert parser.add('{"answer"').text == '{"answer"'
    parser = parser_of(of(json_calls.GRANITE))
    assert parser.add("<|tool_call|>no").text == "<|tool_call|>no"
