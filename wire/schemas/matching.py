"""How schemas are matched, by the process that checks them and by the worker alike.

Imports the matcher only inside the functions that use it: the API never calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llguidance import LLParserLimits

OPTIONS_KEY = "x-guidance"
"""The key of a schema under which the matcher reads its options."""
WARNINGS_KEY = "x-warnings"
"""The key of a schema with the warnings about keywords that are not enforced; the matcher and
earlier workers ignore it."""
# Only one way to write each answer. With a choice, a small model may write spaces until its
# tokens are used up.
# What oneOf asks for beyond anyOf has been refused or warned of before the matcher reads it.
OPTIONS: dict[str, Any] = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
    "coerce_one_of": True,
}
TOO_COMPLEX = "a pattern or a number range in it is too complex"
TOO_WIDE = "too many of its parts are optional or alternatives of each other"
CONTRADICTION = "its parts contradict each other, so that no answer can be whole"
_REASONS = (
    (
        ("too many expressions", "lexer configuration", "LexerTooComplex", "lexer error", "fuel"),
        TOO_COMPLEX,
    ),
    (("items; max is", "Too many items", "ParserTooComplex", "grammar size"), TOO_WIDE),
    (("NoExtensionBias",), CONTRADICTION),
)


def limits() -> LLParserLimits:
    """What matching may cost.

    A step's share bounds how long one mask may keep the other streams waiting.
    """
    from llguidance import LLParserLimits

    return LLParserLimits(initial_lexer_fuel=500_000, step_lexer_fuel=100_000, verbose_errors=False)


def known_reason(error: str) -> str:
    """The meaning of a matcher's error, if a valid schema may cause it."""
    return next((reason for words, reason in _REASONS if any(word in error for word in words)), "")
