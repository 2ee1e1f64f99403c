"""Regular expressions and grammars as the reading process settles or refuses them."""

from __future__ import annotations

import re

import pytest
from llguidance import LLMatcher

from wire.schemas import matching
from wire.schemas.process import VOCABULARY, answer
from wire.schemas.rules import any_of


def settled(kind: str, text: str) -> str:
    return str(answer(kind, text.encode())["text"])


def reason(kind: str, text: str) -> str:
    return str(answer(kind, text.encode())["reason"])


def matches(kind: str, text: str, whole: str) -> bool:
    """Whether an answer may be exactly this."""
    make = {"regex": LLMatcher.grammar_from_regex, "lark": LLMatcher.grammar_from_lark}[kind]
    matcher = LLMatcher(VOCABULARY, make(text), log_level=0, limits=matching.limits())
    return all(matcher.consume_token(byte) for byte in whole.encode()) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"\d{3}-\d{4}", ["555-0199"], ["555-019", "5550199", "555-01999"]),
        ("^(?:yes|no)$", ["yes", "no"], ["yesno", "", "^yes"]),
        ("(?i)oui", ["OUI", "oui"], ["non"]),
        (r"\p{L}+é", ["caffé"], ["cafe"]),
    ],
)
def test_a_regular_expression_is_kept_and_matches_the_whole_answer(
    pattern: str, good: list[str], bad: list[str]
) -> None:
    assert settled("regex", pattern) == pattern
    assert [matches("regex", pattern, text) for text in good] == [True] * len(good)
    assert [matches("regex", pattern, text) for text in bad] == [False] * len(bad)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "a regular expression can't be read: unclosed group"),
        (r"(a)\1", "a regular expression can't be read: backreferences are not supported"),
        ("(?=a)a", "a regular expression can't be read: look-around"),
        (r"\ba", "a regular expression can't be read: lookarounds not supported"),
    ],
)
def test_one_that_can_not_be_matched_is_refused_with_the_reason(pattern: str, why: str) -> None:
    assert reason("regex", pattern).startswith(why)


def test_choices_are_matched_literally() -> None:
    choices = ["a.b", "(c)", "d|e", "f\\g", "[h]", "i$", "j k", "ä\nö"]
    pattern = settled("regex", any_of(choices))
    assert [matches("regex", pattern, choice) for choice in choices] == [True] * len(choices)
    assert not matches("regex", pattern, "axb")
    assert re.fullmatch(any_of(choices), "a.b")


def test_a_grammar_in_larks_syntax_is_kept() -> None:
    grammar = 'start: "sum=" NUMBER ("+" NUMBER)*\nNUMBER: /[0-9]+/'
    assert settled("lark", grammar) == grammar
    assert matches("lark", grammar, "sum=1+22")
    assert not matches("lark", grammar, "sum=1+")


def test_a_grammar_of_llama_cpp_is_written_in_larks_syntax_once() -> None:
    once = settled("lark", 'root ::= answer "."\nanswer ::= "yes" | "no" [0-9]{2}')
    assert matches("lark", once, "no42.")
    assert not matches("lark", once, "no4.")
    assert settled("lark", once) == once


@pytest.mark.parametrize(
    ("grammar", "why"),
    [
        ("start: missing", 'at 1(8): unknown name: "missing"'),
        ("start: <[3]>", "it names tokens by their numbers"),
        ('start: "a" < [1-3] >', "it names tokens by their numbers"),
        ("start: <|im_end|>", "at 1(8): unknown special token"),
        ('start: %json {"not": {}}', 'the keyword "not" can\'t be enforced'),
        ("start: /(/", "a regular expression can't be read: unclosed group"),
    ],
)
def test_a_grammar_that_can_not_be_matched_is_refused_with_the_reason(
    grammar: str, why: str
) -> None:
    assert reason("lark", grammar).startswith(why)


def test_a_reason_lists_no_names_of_the_librarys_own() -> None:
    assert reason("lark", "start: <|im_end|>") == ('at 1(8): unknown special token: "<|im_end|>"')
    assert reason("lark", '%import x\nstart: "a"').endswith("Unknown common regex: x")


def test_numbers_in_texts_and_comments_name_no_tokens() -> None:
    grammar = 'start: "<[3]>" /x<\\[1/ // <[4]>'
    assert settled("lark", grammar) == grammar
    assert matches("lark", grammar, "<[3]>x<[1")


def test_what_is_neither_syntax_is_refused() -> None:
    assert reason("lark", "hello")
    assert reason("lark", "root ::= (")
