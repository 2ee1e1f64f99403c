"""The process that reads schemas: one after another from standard input, each settled or refused.

Native code reads clients' schemas here, so that a crash or an endless loop harms no other process.
A question is a line ``new 1234`` (a client's) or ``kept 1234`` (one that is a job's already) and
that many bytes of JSON, or ``regex 1234`` or ``lark 1234`` and as many bytes of a regular
expression or a grammar; the answer is ``{"length": …}`` and JSON. It ends with the pipe it reads,
thus with its parent, however that ended.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
import re
import resource
import signal
import sys
from typing import Any

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from llguidance.gbnf_to_lark import GbnfToLarkError, any_to_lark

from wire.processes.child import Head, run
from wire.schemas import matching
from wire.schemas.closing import Closing
from wire.schemas.ends import Ends
from wire.schemas.rules import Rules
from wire.schemas.tree import MOST_LEVELS, Refused, Schema, levels

MEMORY = 1 << 29
"""Address space of this process, bytes."""
CPU_S = 2
"""Computing time for one schema; large ones of generators take a quarter of a second."""
ALARM_S = 60
"""The parent's limit is shorter; this one holds when the parent is gone."""
_END = 256
_WALKS = 3
_LONGEST_WALK = 600
"""Steps after which an answer counts as one that could be whole: a long pattern may want many
characters."""
_CLOSING = frozenset(b'"}]')
_REASON_LIMIT = 200
_MOST_CALLS = 10_000
"""Inside one another: references lead from schema to schema, some hundreds in a large one."""
_PATTERN_ERROR = re.compile(
    r"regex parse error:.*?\nerror: ([^\n]{1,100})|(lookarounds not supported)", re.DOTALL
)
_LITERALS = re.compile(r'"(?:[^"\\\n]|\\.)*"|/(?:[^/\\\n]|\\.)+/|//[^\n]*|#[^\n]*')
"""Texts, regular expressions and comments of a grammar."""
_TOKEN_NUMBERS = re.compile(r"<\s*\[")
_UNKNOWN_KEYS = re.compile(r'Unimplemented keys: \["([^"]{1,60})"')


class _Bytes:
    """A vocabulary of the 256 bytes and an end: an answer of any model's tokens is one of these."""

    eos_token_id = _END
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (_END,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


VOCABULARY = LLTokenizer(TokenizerWrapper(_Bytes()), slices=[])


def settle(schema: Schema) -> tuple[str, list[str]]:
    """A client's schema as a job is to carry it, and warnings about what won't be enforced.

    Raises Refused.
    """
    rules = _ruled(schema)
    Ends(schema).apply()
    before = copy.deepcopy(schema)
    Closing(schema).apply()
    text = _as_stored(schema, rules.warnings)
    try:
        check_satisfiable(text)
    except Refused as refused:
        if schema == before or str(refused) == matching.TOO_COMPLEX:
            raise
        # Some schemas with several parts are satisfiable only without closing.
        text = _as_stored(before, rules.warnings)
        check_satisfiable(text)
    return text, rules.warnings


def keep(text: str) -> None:
    """Raises Refused for a job's schema that can't be enforced unchanged.

    A job may come from another release, or from whoever can write to Redis.
    """
    if _ruled(json.loads(text)).narrowed:
        raise Refused("it has bounds beyond what can be represented exactly")
    check_satisfiable(text)


def settle_grammar(kind: str, text: str) -> str:
    """A regular expression or a grammar as a job is to carry it: a grammar in llama.cpp's syntax
    (GBNF) as one in Lark's.

    Raises Refused for one that can't be read, and for one that no answer matches.
    """
    try:
        if kind == "regex":
            _check_ends(_started(LLMatcher.grammar_from_regex(text)))
            return text
        text = any_to_lark(text)
        # Tokens by number are another vocabulary's here, and control tokens in a model's.
        if _TOKEN_NUMBERS.search(_LITERALS.sub("", text)):
            raise Refused("it names tokens by their numbers")
        _check_ends(_started(LLMatcher.grammar_from_lark(text)))
    except GbnfToLarkError as error:
        raise Refused(f"it is neither Lark's syntax nor GBNF ({_first_line(str(error))})") from None
    return text


def _first_line(error: str) -> str:
    return error.split("\n")[0][:_REASON_LIMIT].rstrip(". ")


def _ruled(schema: Any) -> Rules:
    if not isinstance(schema, dict):
        raise Refused("it is not an object")
    if levels(schema) > MOST_LEVELS:
        raise Refused(f"it is nested more than {MOST_LEVELS} levels deep")
    rules = Rules(schema)
    rules.apply()
    _check_fractions(rules.fractions)
    return rules


def _check_fractions(fractions: set[float]) -> None:
    """Refuse fractions that the matcher reads inexactly, which shows in what it would write."""
    for number in fractions:
        written = _matcher(json.dumps({"const": number}))
        if float(written.compute_ff_bytes() or b"nan") != number:
            raise Refused(
                "it has a number with more digits than can be kept exactly; ask for a string in "
                "its place"
            )


def _as_stored(schema: Schema, warnings: list[str]) -> str:
    return json.dumps(
        schema | {matching.OPTIONS_KEY: matching.OPTIONS, matching.WARNINGS_KEY: warnings}
    )


def check_satisfiable(text: str) -> None:
    """Raises Refused if the matcher can't read a schema, or no answer gets to its end."""
    _check_ends(_matcher(text))


def _check_ends(matcher: LLMatcher) -> None:
    """Raises Refused if no answer gets to its end."""
    trouble = ""
    for seed in range(_WALKS):
        trouble = _walk(matcher.deep_copy(), random.Random(seed))
        if not trouble:
            return
        if trouble in (matching.TOO_COMPLEX, matching.TOO_WIDE):
            break  # Another walk would cost as much again.
    raise Refused(trouble)


def _walk(matcher: LLMatcher, chance: random.Random) -> str:
    """Write some answer, preferring bytes that end it; returns why it got stuck, or nothing."""
    for _ in range(_LONGEST_WALK):
        mask = matcher.compute_bitmask()
        if matcher.is_error():
            return _reason(matcher.get_error())
        if matcher.is_stopped() or mask[_END >> 3] >> (_END & 7) & 1:
            return ""
        allowed = [byte for byte in range(256) if mask[byte >> 3] >> (byte & 7) & 1]
        if not allowed:
            return matching.CONTRADICTION
        best = [byte for byte in allowed if byte in _CLOSING] or allowed
        if not matcher.consume_token(chance.choice(best)):
            return _reason(matcher.get_error())
    return ""


def _matcher(text: str) -> LLMatcher:
    try:
        grammar = LLMatcher.grammar_from_json_schema(text)
    except ValueError as error:
        raise Refused(_reason(str(error))) from None
    return _started(grammar)


def _started(grammar: str) -> LLMatcher:
    matcher = LLMatcher(VOCABULARY, grammar, log_level=0, limits=matching.limits())
    if matcher.is_error():
        raise Refused(_reason(matcher.get_error()))
    return matcher


def _reason(error: str) -> str:
    known = matching.known_reason(error)
    if known:
        return known
    if found := _PATTERN_ERROR.search(error):
        return f"a regular expression can't be read: {found[1] or found[2]}"
    key = _UNKNOWN_KEYS.search(error)
    if key:
        return f'the keyword "{key[1]}" can\'t be enforced while an answer is written'
    # The lines below the first one quote what was sent, and lists are of the library's own names.
    first = error.split("<state>")[0].split("\n   1 | ")[0].split("; following")[0]
    return " ".join(first.split())[:_REASON_LIMIT].rstrip(". ")


def answer(kind: str, payload: bytes) -> dict[str, Any]:
    """The answer to one question: a reason, or what a job is to carry."""
    try:
        if kind == "kept":
            keep(payload.decode())
            return {}
        if kind in ("regex", "lark"):
            return {"text": settle_grammar(kind, payload.decode())}
        text, warnings = settle(json.loads(payload))
        return {"text": text, "warnings": warnings}
    except Refused as refused:
        return {"reason": str(refused)}
    except RecursionError:
        return {"reason": "it is nested too deeply"}
    except ValueError:
        return {"reason": "it is not JSON"}


def limit_time() -> None:
    """Have the system end this process when one question takes longer, in whole seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + CPU_S
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    signal.alarm(ALARM_S)


def warm_up() -> None:
    """Run once before files are locked: modules that are imported on first use can't be opened
    later."""
    settle(
        {
            "type": "object",
            "properties": {"a": {"type": "string", "pattern": "^a$"}, "b": {"enum": [1, "x"]}},
        }
    )
    with contextlib.suppress(Refused):
        settle({"type": "string", "pattern": "("})
    settle_grammar("regex", "a+")
    settle_grammar("lark", 'root ::= "a" | "b"')


def encoded_answer(kind: str, payload: bytes) -> tuple[Head, bytes]:
    """The answer as the pool reads it. Raises MemoryError."""
    data = json.dumps(answer(kind, payload)).encode("ascii")
    return {"length": len(data)}, data


if __name__ == "__main__":
    sys.setrecursionlimit(_MOST_CALLS)
    run(encoded_answer, warm_up, MEMORY, limit_time)
