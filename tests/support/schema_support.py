"""Schemas as jobs carry them, for tests: checked by the same process as a request's."""

from __future__ import annotations

import json
from typing import Any

from llguidance import LLMatcher

from wire.schemas import matching
from wire.schemas.check import Verdict
from wire.schemas.process import VOCABULARY
from wire.schemas.rules import STRICT
from worker.backends.sampling.json_schema import schema_check


def verdict(schema: Any, *, strict: bool = False) -> Verdict:
    """The verdict on a schema."""
    return schema_check().new(json.dumps(schema | {STRICT: strict}))


def settled(schema: dict[str, Any]) -> str:
    """An enforceable schema, as a job carries it."""
    checked = verdict(schema)
    assert not checked.reason, checked.reason
    return checked.text


def allowed(schema: dict[str, Any], *texts: str) -> list[str]:
    """The texts that the schema allows as an answer."""
    grammar = LLMatcher.grammar_from_json_schema(settled(schema))
    matcher = LLMatcher(VOCABULARY, grammar, log_level=0, limits=matching.limits())
    return [text for text in texts if _is_whole(matcher, text.encode())]


def _is_whole(matcher: LLMatcher, text: bytes) -> bool:
    matcher.reset()
    return matcher.try_consume_tokens(list(text)) == len(text) and matcher.is_accepting()
