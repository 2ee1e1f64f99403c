"""Every format of tool calls: the same text, thinking and calls however an answer comes in
pieces, with arguments that hold anything, cut at any character."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.mlx.formats.format_support import TRICKY, calls_of, chat, of, parser_of, said
from worker.backends.text.formats import harmony, json_calls, tagged_calls
from worker.backends.text.formats.chat_format import ChatFormat
from worker.text_decoder import Output


@dataclass(frozen=True)
class Case:
    """A format, how a model writes calls and text in it, and a mark that may stand in a string."""

    form: ChatFormat
    write: Callable[[list[tuple[str, dict[str, Any]]]], str]
    mark: str
    text: Callable[[str], str] = str
    begins: bool = False
    """Whether calls are told only where the text begins."""


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def listed(start: str, end: str = "", arguments: str = "arguments", name: str = "name") -> Any:
    return lambda calls: (
        start + dumped([{name: called, arguments: given} for called, given in calls]) + end
    )


def each(write: Callable[[str, dict[str, Any]], str], between: str = "") -> Any:
    return lambda calls: between.join(write(*call) for call in calls)


def deepseek(write: Callable[[str, str], str]) -> Any:
    return lambda calls: (
        "<｜tool▁calls▁begin｜>"
        + "\n".join(
            f"<｜tool▁call▁begin｜>{write(name, dumped(given))}<｜tool▁call▁end｜>"
            for name, given in calls
        )
        + "<｜tool▁calls▁end｜>"
    )


def dsml(calls: list[tuple[str, dict[str, Any]]]) -> str:
    def parameter(name: str, value: Any) -> str:
        is_text = isinstance(value, str)
        written = value if is_text else dumped(value)
        head = f'<｜DSML｜parameter name="{name}" string="{dumped(is_text)}">'
        return f"{head}{written}</｜DSML｜parameter>"

    invokes = [
        f'<｜DSML｜invoke name="{name}">\n'
        + "\n".join(parameter(*pair) for pair in given.items())
        + "\n</｜DSML｜invoke>"
        for name, given in calls
    ]
    return "<｜DSML｜function_calls>\n" + "\n".join(invokes) + "\n</｜DSML｜function_calls>"


def tags(start: str, end: str) -> Any:
    def write(name: str, given: dict[str, Any]) -> str:
        values = {key: v if isinstance(v, str) else dumped(v) for key, v in given.items()}
        parameters = "".join(f"<parameter={key}>{v}</parameter>\n" for key, v in values.items())
        return f"{start}\n<function={name}>\n{parameters}</function>\n{end}"

    return each(write, "\n")


def minimax_m3(calls: list[tuple[str, dict[str, Any]]]) -> str:
    mark = "]<]minimax[>["

    def values(given: dict[str, Any]) -> str:
        written = {key: v if isinstance(v, str) else dumped(v) for key, v in given.items()}
        return "".join(f"{mark}<{key}>{v}{mark}</{key}>" for key, v in written.items())

    invokes = "\n".join(
        f'{mark}<invoke name="{name}">\n{values(given)}\n{mark}</invoke>' for name, given in calls
    )
    return f"{mark}<tool_call>\n{invokes}\n{mark}</tool_call>"


def python(calls: list[tuple[str, dict[str, Any]]]) -> str:
    written = [
        f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})"
        for name, given in calls
    ]
    return f"[{', '.join(written)}]"


def harmony_call(header: str) -> Any:
    return each(lambda name, given: f"{header.format(name)}<|message|>{dumped(given)}<|call|>")


def harmony_text(text: str) -> str:
    return f"<|start|>assistant<|channel|>final<|message|>{text}<|end|>" if text else ""


COMMENTARY = "<|start|>assistant<|channel|>commentary to=functions.{} <|constrain|>json"
RECIPIENT = "<|start|>assistant to=functions.{}<|channel|>commentary json"
MISTRAL, UNMARKED = of(json_calls.MISTRAL), of(json_calls.UNMARKED)
CASES = {
    "mistral v3": Case(MISTRAL, listed("[TOOL_CALLS] "), "[TOOL_CALLS]"),
    "mistral v7": Case(MISTRAL, listed("[TOOL_CALLS]"), "]"),
    "mistral v11": Case(
        MISTRAL,
        each(lambda n, a: f"[TOOL_CALLS]{n}[CALL_ID]a1b2c3d4e[ARGS]{dumped(a)}"),
        "[CALL_ID]x[ARGS]{",
    ),
    "mistral v13": Case(
        MISTRAL, each(lambda n, a: f"[TOOL_CALLS]{n}[ARGS]{dumped(a)}"), "[TOOL_CALLS]x[ARGS]"
    ),
    "harmony": Case(
        ChatFormat.harmony(harmony.FORMAT), harmony_call(COMMENTARY), "<|call|>", harmony_text
    ),
    "harmony, recipient first": Case(
        ChatFormat.harmony(harmony.FORMAT), harmony_call(RECIPIENT), "<|end|>", harmony_text
    ),
    "llama 3": Case(
        UNMARKED,
        each(lambda n, a: dumped({"name": n, "parameters": a}), "; "),
        '{"name": "clock"}',
        begins=True,
    ),
    "llama 3, tagged": Case(
        UNMARKED,
        lambda calls: (
            "<|python_tag|>" + "; ".join(dumped({"name": n, "parameters": a}) for n, a in calls)
        ),
        "<|python_tag|>",
    ),
    "llama 3, typed": Case(
        UNMARKED,
        each(lambda n, a: dumped({"type": "function", "name": n, "parameters": a}), "\n"),
        "}",
        begins=True,
    ),
    "llama 3, custom": Case(
        UNMARKED, each(lambda n, a: f"<function={n}>{dumped(a)}</function>"), "</function>"
    ),
    "llama 4": Case(UNMARKED, python, ")]", begins=True),
    "llama 4, tagged": Case(
        UNMARKED, lambda calls: f"<|python_start|>{python(calls)}<|python_end|>", "<|python_end|>"
    ),
    "granite 3": Case(of(json_calls.GRANITE), listed("<|tool_call|>"), "<|tool_call|>"),
    "granite 4": Case(
        of(json_calls.HERMES),
        each(lambda n, a: f"<tool_call>\n{dumped({'name': n, 'arguments': a})}\n</tool_call>"),
        "</tool_call>",
    ),
    "phi 4 mini": Case(
        of(json_calls.PHI), listed("<|tool_call|>", "<|/tool_call|>"), "<|/tool_call|>"
    ),
    "phi 4 mini, functools": Case(of(json_calls.PHI), listed("functools"), "functools["),
    "nemotron": Case(of(json_calls.NEMOTRON), listed("<TOOLCALL>", "</TOOLCALL>"), "</TOOLCALL>"),
    "cohere": Case(
        of(json_calls.COHERE),
        listed("<|START_ACTION|>", "<|END_ACTION|>", "parameters", "tool_name"),
        "<|END_ACTION|>",
    ),
    "deepseek v3": Case(
        of(tagged_calls.DEEPSEEK),
        deepseek(lambda n, a: f"function<｜tool▁sep｜>{n}\n```json\n{a}\n```"),
        "<｜tool▁calls▁end｜>",
    ),
    "deepseek v3.1": Case(
        of(tagged_calls.DEEPSEEK),
        deepseek(lambda n, a: f"{n}<｜tool▁sep｜>{a}"),
        "<｜tool▁call▁begin｜>",
    ),
    "deepseek v3.2": Case(of(tagged_calls.DSML_FORMAT), dsml, "</｜DSML｜function_calls>"),
    "seed-oss": Case(
        of(tagged_calls.SEED), tags("<seed:tool_call>", "</seed:tool_call>"), "</seed:tool_call>"
    ),
    "minimax m3": Case(of(tagged_calls.MINIMAX_M3), minimax_m3, "</tool_call>"),
    "qwen 3 coder": Case(
        of(tagged_calls.CODER), tags("<tool_call>", "</tool_call>"), "</tool_call>"
    ),
}
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
CLOCK: tuple[str, dict[str, Any]] = ("clock", {"zone": "Ö/UTC"})
WRITE: tuple[str, dict[str, Any]] = ("write", TRICKY)


@every
def test_calls_are_read_with_the_text_around_them(case: Case) -> None:
    before = "" if case.begins else case.text("One moment. ")
    told = said(case.form, before + case.write([CLOCK]) + case.text(" Done."))
    assert calls_of(told) == [CLOCK]
    assert (told.text, told.reasoning) == ("One moment.  Done." if before else " Done.", "")


@every
def test_two_calls_are_read_each_with_an_id_of_its_own(case: Case) -> None:
    told = said(case.form, case.write([CLOCK, WRITE]))
    assert calls_of(told) == [CLOCK, WRITE]
    assert told.text == ""
    first, second = told.tool_calls
    assert first.id != second.id
    assert len(first.id) == 9


@every
def test_a_mark_in_an_argument_is_part_of_it(case: Case) -> None:
    marked = ("clock", {"zone": f"a {case.mark} b"})
    told = said(case.form, case.write([marked, CLOCK]))
    assert (told.text, calls_of(told)) == ("", [marked, CLOCK])


@every
def test_a_call_that_is_cut_is_text_and_nothing_is_lost(case: Case) -> None:
    whole = case.write([WRITE])
    tools = case.form.tools
    assert tools is not None
    for cut in range(0, len(whole), 3):
        told = said(case.form, whole[:cut])
        if told.tool_calls:
            assert calls_of(told) == [WRITE]
            # The mark behind it, cut as well.
            assert any(mark.startswith(told.text) for mark in ("", *tools.dropped))
            continue
        kept = whole[:cut]
        for mark in tools.opening:
            kept = kept.replace(mark, "")
        if case.form.is_harmony:  # The rest of a header is markup.
            kept = kept[kept.index("to=") :] if "to=" in kept else ""
        assert told.text == kept


@every
def test_an_answer_goes_on_behind_a_crash_at_any_character(case: Case) -> None:
    text = case.text("Well. ") + case.write([CLOCK]) + case.text("So.")
    whole = parser_of(case.form)
    pieces = [whole.add(character) for character in text] + [whole.finish()]
    for cut in range(len(text)):
        again = parser_of(case.form)
        for character in text[:cut]:
            again.add(character)
        assert [again.add(c) for c in text[cut:]] + [again.finish()] == pieces[cut:]


@every
def test_without_tools_a_call_is_text(case: Case) -> None:
    call = case.write([CLOCK])
    told = said(case.form, call, chat(tools=()))
    assert told == Output('{"zone": "Ö/UTC"}' if case.form.is_harmony else call)


@every
def test_a_stop_text_ends_the_text_and_not_a_call(case: Case) -> None:
    job = chat(stop=("UTC",))
    told = said(case.form, case.write([CLOCK]) + case.text("It is UTC now"), job)
    assert (calls_of(told), told.text) == ([CLOCK], "It is ")
